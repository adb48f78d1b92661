//! The first file system: a cpio archive that the loader left in memory, read-only.

use super::directory::Builder;
use super::file::Seeking;
use super::{DeviceId, File, Inode, Kind, Metadata, Request, UserBuffer};
use crate::errno::Errno;
use alloc::{format, string::String, sync::Arc, vec::Vec};
use mm::{Object, PAGE, Pager};
use spin::Once;

/// As on Linux, the first file system that needs no device.
const FILE_SYSTEM: DeviceId = DeviceId::new(0, 2);

/// All files that may have pages in memory.
static OBJECTS: Once<Vec<Arc<Object>>> = Once::new();

/// Gives back the pages of files that nobody maps; they can be read from the archive again.
pub fn trim() {
    for object in OBJECTS.get().into_iter().flatten() {
        object.shrink();
    }
}

/// The archive's tree. Of what has no permission bits recorded, such as directories that are only implied, everything may
/// be read and entered.
pub fn read(archive: &'static [u8]) -> Builder {
    let mut numbers = 1..;
    let mut next = move || numbers.next().unwrap_or_default();
    let mut objects = Vec::new();
    let mut root = Builder::new(Metadata::new(Kind::Directory, 0o755, next(), FILE_SYSTEM));
    for entry in newc::members(archive) {
        let kind = match entry.mode & linux_raw_sys::general::S_IFMT {
            linux_raw_sys::general::S_IFDIR => Kind::Directory,
            linux_raw_sys::general::S_IFLNK => Kind::Symlink,
            linux_raw_sys::general::S_IFREG => Kind::Regular,
            // Devices are in /dev.
            _ => continue,
        };
        let mut metadata =
            Metadata::new(kind, entry.mode & !linux_raw_sys::general::S_IFMT, next(), FILE_SYSTEM);
        metadata.modified = entry.modified.into();
        metadata.len = entry.data.len() as u64;

        let mut names: Vec<_> = entry.name.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let last = names.pop();
        let mut directory = &mut root;
        for name in names {
            directory = directory.directory(name, Metadata::new(Kind::Directory, 0o755, next(), FILE_SYSTEM));
        }
        match (kind, last) {
            (Kind::Directory, None) => directory.set_metadata(metadata),
            (Kind::Directory, Some(name)) => directory.directory(name, metadata).set_metadata(metadata),
            (Kind::Symlink, Some(name)) => {
                let target = String::from_utf8_lossy(entry.data).into_owned();
                directory.insert(name, Arc::new(Symlink { metadata, target }));
            }
            (_, Some(name)) => {
                let path = format!("/{}", entry.name.trim_start_matches(['.', '/']));
                let file = ArchiveFile::new(&path, metadata, entry.data);
                objects.push(file.object.clone());
                directory.insert(name, file);
            }
            (_, None) => {}
        }
    }
    OBJECTS.call_once(|| objects);
    root
}

/// A symbolic link with a fixed target.
pub struct Symlink {
    metadata: Metadata,
    target: String,
}

impl Symlink {
    pub fn new(target: &str, number: u64, file_system: DeviceId) -> Self {
        let metadata = Metadata::new(Kind::Symlink, 0o777, number, file_system);
        Self { metadata: Metadata { len: target.len() as u64, ..metadata }, target: String::from(target) }
    }
}

impl Inode for Symlink {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn read_link(&self) -> Result<String, Errno> {
        Ok(self.target.clone())
    }
}

/// A file in the archive. Reading copies from the archive itself, mapping goes through pages that all processes share.
struct ArchiveFile {
    metadata: Metadata,
    bytes: &'static [u8],
    object: Arc<Object>,
}

struct Bytes(&'static [u8]);

impl Pager for Bytes {
    fn fill(&self, index: u64, page: &mut [u8; PAGE]) {
        let start = usize::try_from(index).ok().and_then(|index| index.checked_mul(PAGE));
        let from = start.and_then(|start| self.0.get(start..)).unwrap_or_default();
        let len = from.len().min(PAGE);
        page[..len].copy_from_slice(&from[..len]);
    }
}

impl ArchiveFile {
    fn new(path: &str, metadata: Metadata, bytes: &'static [u8]) -> Arc<Self> {
        let object = Arc::new(Object::file(path.into(), metadata.len, Arc::new(Bytes(bytes))));
        Arc::new(Self { metadata, bytes, object })
    }
}

impl Inode for ArchiveFile {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        Ok(self)
    }
}

impl File for ArchiveFile {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn seeking(&self) -> Seeking {
        Seeking::Possible
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        let start = usize::try_from(request.offset).ok();
        to.fill(start.and_then(|start| self.bytes.get(start..)).unwrap_or_default())
    }

    fn object(&self) -> Option<Arc<Object>> {
        Some(self.object.clone())
    }
}

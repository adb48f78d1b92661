//! `struct sockaddr_un` (man 7 unix).

use super::names::{check_new, new_node};
use super::start;
use crate::errno::Errno;
use crate::fs::unix::{self, Address, Endpoint, Place};
use crate::fs::{Access, DeviceId, Kind, LastLink, random};
use crate::task::Current;
use crate::user;
use alloc::{format, string::String, sync::Arc, vec::Vec};
use linux_raw_sys::general::AT_FDCWD;
use linux_raw_sys::net::AF_UNIX;

/// `sun_path`.
const PATH: usize = 108;
/// `sun_family`.
const HEAD: usize = 2;

/// What a program gave as an address.
enum Named {
    Nothing,
    Path(String),
    Abstract(Vec<u8>),
}

/// `None` for `AF_UNSPEC`.
fn read(address: u64, len: u32) -> Result<Option<Named>, Errno> {
    let len = len as usize;
    if !(HEAD..=HEAD + PATH).contains(&len) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = [0; HEAD + PATH];
    user::read_bytes(address, &mut bytes[..len])?;
    let family = u32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
    match family {
        0 => return Ok(None),
        AF_UNIX => {}
        _ => return Err(Errno::EINVAL),
    }
    let name = &bytes[HEAD..len];
    Ok(Some(match name.first() {
        None => Named::Nothing,
        Some(0) => Named::Abstract(name[1..].to_vec()),
        Some(_) => {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Named::Path(String::from_utf8(name[..end].to_vec()).map_err(|_| Errno::ENOENT)?)
        }
    }))
}

/// Gives a socket the name at `address`; one in the file system is made, one that is empty is chosen.
pub fn bind(current: &Current, endpoint: &Arc<Endpoint>, address: u64, len: u32) -> Result<(), Errno> {
    match read(address, len)?.ok_or(Errno::EINVAL)? {
        Named::Abstract(name) => {
            unix::bind(endpoint, Address { place: Place::Abstract(name), path: String::new() })
        }
        Named::Nothing => bind_anywhere(endpoint),
        Named::Path(path) => {
            if endpoint.address().is_some() {
                return Err(Errno::EINVAL);
            }
            let walk = start(current, AT_FDCWD, &path)?;
            let target = walk.resolve_target(&path)?.ok_or(Errno::EADDRINUSE)?;
            let in_use = |error| if error == Errno::EEXIST { Errno::EADDRINUSE } else { error };
            check_new(&walk, &target).map_err(in_use)?;
            let parent = target.directory.inode();
            let metadata = parent.metadata();
            let new = new_node(current, &metadata, Kind::Socket, 0o777, DeviceId::NONE, String::new());
            let inode = parent.create(target.name, new).map_err(in_use)?;
            unix::bind(endpoint, Address { place: Place::Inode(inode.metadata().number), path })
        }
    }
}

/// Five random hexadecimal digits, as on Linux.
fn bind_anywhere(endpoint: &Arc<Endpoint>) -> Result<(), Errno> {
    loop {
        let mut number = [0; 4];
        random::fill(&mut number);
        let name = format!("{:05x}", u32::from_ne_bytes(number) & 0xf_ffff).into_bytes();
        match unix::bind(endpoint, Address { place: Place::Abstract(name), path: String::new() }) {
            Err(Errno::EADDRINUSE) => {}
            outcome => return outcome,
        }
    }
}

/// The place that an address names, to connect or to send to; `None` to connect to nothing.
///
/// # Errors
/// Those of paths; `ECONNREFUSED` for a file that is no socket, `EACCES` for one that may not be written.
pub fn read_target(current: &Current, address: u64, len: u32) -> Result<Option<Place>, Errno> {
    match read(address, len)? {
        None => Ok(None),
        Some(Named::Nothing) => Err(Errno::EINVAL),
        Some(Named::Abstract(name)) => Ok(Some(Place::Abstract(name))),
        Some(Named::Path(path)) => {
            let walk = start(current, AT_FDCWD, &path)?;
            let metadata = walk.resolve(&path, LastLink::Follow)?.inode().metadata();
            walk.who.check(&metadata, Access::WRITE)?;
            if metadata.kind != Kind::Socket {
                return Err(Errno::ECONNREFUSED);
            }
            Ok(Some(Place::Inode(metadata.number)))
        }
    }
}

/// The bytes of an address: the family alone for a socket without a name.
pub fn bytes(address: Option<&Address>) -> Vec<u8> {
    let mut bytes = Vec::from((AF_UNIX as u16).to_ne_bytes());
    match address.map(|address| (&address.place, &address.path)) {
        None => {}
        Some((Place::Abstract(name), _)) => {
            bytes.push(0);
            bytes.extend_from_slice(name);
        }
        Some((Place::Inode(_), path)) => {
            bytes.extend_from_slice(path.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

/// Writes an address where there is room for what `len` says, and its full length there.
pub fn report(address: Option<&Address>, to: u64, len: u64) -> Result<(), Errno> {
    let room: i32 = user::read(len)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = bytes(address);
    user::write_bytes(to, &bytes[..bytes.len().min(room)])?;
    user::write(len, &(bytes.len() as u32))
}

//! Where things are: the source tree and what is made from it.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The source tree that this `tine` was built from.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Fails when the tree is no longer where `tine` was built.
    pub fn find() -> Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.ancestors().nth(2).unwrap_or(package).to_owned();
        if !root.join("qemu-configs").is_dir() {
            bail!("there is no Tine source tree at {}; run `cargo run` in the tree itself", root.display());
        }
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            // Cargo takes a relative one from where it was called; so does this.
            Some(path) => std::path::absolute(path).context("CARGO_TARGET_DIR")?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The machine configurations.
    pub fn configs(&self) -> PathBuf {
        self.root.join("qemu-configs")
    }

    /// Cargo's target directory for everything that runs in the guest.
    pub fn guest_target(&self) -> PathBuf {
        self.target.join("guest")
    }

    /// The private sysroots with `core` and `alloc` for the kernel, one per compiler.
    pub fn sysroots(&self) -> PathBuf {
        self.target.join("sysroot")
    }

    /// A directory for what `tine` keeps from run to run; made if it is missing.
    pub fn state(&self) -> Result<PathBuf> {
        let path = self.target.join("tine");
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// Waits until no other process holds the lock `name`, and holds it until the file is dropped.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.state()?.join(format!("{name}.lock"));
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }
}

/// Writes a file such that a reader sees the old or the new content, never a part.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let directory = path.parent().context("a file has a directory")?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        std::io::Write::write_all(&mut file, content)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

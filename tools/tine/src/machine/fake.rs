//! A stand-in for QEMU: a shell script, for tests of what goes wrong.

use crate::setup::qemu;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// A script that can be started as QEMU as long as this exists.
pub struct Qemu {
    directory: TempDir,
}

impl Qemu {
    pub fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let this = Self { directory };
        // Written and renamed in a process that has forked in between, the file could be open for writing elsewhere
        // ("text file busy"); so the shell makes it.
        let body = format!("#!/bin/sh\n{script}\n");
        let temporary = this.path().with_extension("new");
        fs::write(&temporary, body).expect("a script");
        fs::set_permissions(&temporary, Permissions::from_mode(0o755)).expect("an executable");
        let copied = std::process::Command::new("cp").args([&temporary, &this.path()]).status();
        assert!(copied.expect("cp").success());
        this
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("qemu-system-x86_64")
    }

    pub fn qemu(&self) -> qemu::Qemu {
        qemu::Qemu::fake(self.path())
    }
}

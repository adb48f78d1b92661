//! Who may do what with files: permissions, owners, the mask, sticky directories, device nodes, giving up root.

use anyhow::ensure;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, stat, umask};
use nix::unistd::{self, AccessFlags, Gid, Uid, mkdir};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;
use userland::checks::{self, Outcome};
use userland::children::in_child;
use userland::place::{Place, as_user, number};

fn main() -> ExitCode {
    checks::run(
        "file_permissions",
        &[
            ("the mask takes permissions away", masked),
            ("permissions hold for those who are not root", permissions),
            ("only owners change attributes", owners),
            ("a sticky directory protects its files", sticky),
            ("a user who gives up root stays what he is", identities),
            ("device nodes work wherever they are", nodes),
        ],
    )
}

fn masked() -> Outcome {
    let place = Place::new("file_permissions")?;
    umask(Mode::from_bits_truncate(0o027));
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
    open(&place.path("a"), flags, Mode::from_bits_truncate(0o666))?;
    mkdir(&place.path("d"), Mode::from_bits_truncate(0o777))?;
    let mode = |name: &str| anyhow::Ok(stat(&place.path(name))?.st_mode & 0o7777);
    ensure!((mode("a")?, mode("d")?) == (0o640, 0o750), "{:o} {:o}", mode("a")?, mode("d")?);
    Ok(())
}

fn permissions() -> Outcome {
    let place = Place::new("file_permissions")?;
    let path = place.file("a", b"secret")?;
    let hidden = place.path("d");
    fs::create_dir(&hidden)?;
    place.file("d/x", b"")?;
    set_mode(&path, 0o640)?;
    set_mode(&hidden, 0o700)?;
    as_user(1000, || {
        ensure!(number(File::open(&path)) == Some(libc::EACCES), "another's file was read");
        ensure!(number(File::open(hidden.join("x"))) == Some(libc::EACCES), "a closed directory was entered");
        ensure!(number(fs::write(place.path("new"), b"")) == Some(libc::EACCES), "a file was made");
        ensure!(number(fs::remove_file(&path)) == Some(libc::EACCES), "a file was removed");
        ensure!(unistd::access(&path, AccessFlags::R_OK) == Err(Errno::EACCES), "access says yes");
        Ok(())
    })?;
    set_mode(&path, 0o604)?;
    as_user(1000, || {
        ensure!(fs::read(&path)? == b"secret", "not read although everybody may");
        let written = number(OpenOptions::new().write(true).open(&path));
        ensure!(written == Some(libc::EACCES), "written");
        Ok(())
    })?;
    // The owner's bits count for the owner, even if others have more.
    unistd::chown(&path, Some(Uid::from_raw(1000)), None)?;
    set_mode(&path, 0o066)?;
    as_user(1000, || {
        ensure!(number(File::open(&path)) == Some(libc::EACCES), "read by an owner who may not");
        Ok(())
    })?;
    ensure!(fs::read(&path)? == b"secret", "root may read all");
    Ok(())
}

fn owners() -> Outcome {
    let place = Place::new("file_permissions")?;
    set_mode(&place.0, 0o777)?;
    let path = place.file("a", b"")?;
    as_user(1000, || {
        ensure!(number(try_set_mode(&path, 0o777)) == Some(libc::EPERM), "another's permissions");
        let taken = unistd::chown(&path, Some(Uid::from_raw(1000)), None);
        ensure!(taken == Err(Errno::EPERM), "taken over: {taken:?}");
        let own = place.file("own", b"")?;
        let metadata = fs::metadata(&own)?;
        ensure!((metadata.uid(), metadata.gid()) == (1000, 1000), "made for {}", metadata.uid());
        set_mode(&own, 0o4755)?;
        let given = unistd::chown(&own, Some(Uid::from_raw(1001)), None);
        ensure!(given == Err(Errno::EPERM), "given away: {given:?}");
        Ok(())
    })?;
    let own = place.path("own");
    unistd::chown(&own, Some(Uid::from_raw(1002)), Some(Gid::from_raw(1003)))?;
    let metadata = fs::metadata(&own)?;
    ensure!((metadata.uid(), metadata.gid()) == (1002, 1003), "{} {}", metadata.uid(), metadata.gid());
    ensure!(metadata.mode() & 0o7777 == 0o755, "still runs as another: {:o}", metadata.mode());
    Ok(())
}

fn try_set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn set_mode(path: &Path, mode: u32) -> Outcome {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn sticky() -> Outcome {
    let place = Place::new("file_permissions")?;
    set_mode(&place.0, 0o1777)?;
    let path = place.file("a", b"")?;
    as_user(1000, || {
        ensure!(number(fs::remove_file(&path)) == Some(libc::EPERM), "another's file was removed");
        ensure!(number(fs::rename(&path, place.path("b"))) == Some(libc::EPERM), "it was moved");
        let own = place.file("own", b"")?;
        fs::remove_file(own)?;
        Ok(())
    })
}

fn identities() -> Outcome {
    as_user(1000, || {
        ensure!((unistd::getuid().as_raw(), unistd::geteuid().as_raw()) == (1000, 1000), "another user");
        ensure!(unistd::setuid(Uid::from_raw(0)) == Err(Errno::EPERM), "root again");
        ensure!(unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err(), "root");
        ensure!(unistd::setgroups(&[Gid::from_raw(0)]) == Err(Errno::EPERM), "in another group");
        Ok(())
    })?;
    in_child(|| {
        unistd::seteuid(Uid::from_raw(1000))?;
        let ids = unistd::getresuid()?;
        ensure!((ids.real.as_raw(), ids.effective.as_raw(), ids.saved.as_raw()) == (0, 1000, 0), "{ids:?}");
        unistd::seteuid(Uid::from_raw(0))?;
        unistd::setgroups(&[Gid::from_raw(7), Gid::from_raw(9)])?;
        ensure!(unistd::getgroups()?.len() == 2, "groups");
        Ok(())
    })
}

fn nodes() -> Outcome {
    let place = Place::new("file_permissions")?;
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&place.path("null"), SFlag::S_IFCHR, mode, makedev(1, 3))?;
    let metadata = stat(&place.path("null"))?;
    ensure!(metadata.st_rdev == makedev(1, 3), "another device");
    ensure!(mknod(&place.path("null"), SFlag::S_IFREG, mode, 0) == Err(Errno::EEXIST), "made twice");
    mknod(&place.path("file"), SFlag::S_IFREG, mode, 0)?;
    ensure!(fs::read(place.path("file"))?.is_empty(), "a new file has content");
    as_user(1000, || {
        let made = mknod(Path::new("/tmp/device"), SFlag::S_IFCHR, mode, makedev(1, 3));
        ensure!(made == Err(Errno::EPERM), "a user made a device");
        Ok(())
    })
}

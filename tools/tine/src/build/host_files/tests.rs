use super::*;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

fn guest(files: &HostFiles, path: impl AsRef<Path>) -> Option<Node> {
    files.tree.iter().find(|(at, _)| *at == path.as_ref()).map(|(_, node)| node.clone())
}

/// Follows the guest's symbolic links to a file.
fn resolves(files: &HostFiles, path: &Path) -> bool {
    let mut at = PathBuf::from("/");
    let mut names: Vec<_> = path.iter().rev().filter(|name| *name != "/").map(PathBuf::from).collect();
    for _ in 0..200 {
        let Some(name) = names.pop() else { return matches!(guest(files, at), Some(Node::File(..))) };
        match guest(files, at.join(&name)) {
            _ if name.as_os_str().as_bytes() == b".." => drop(at.pop()),
            Some(Node::Symlink(target)) => {
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let words = target.iter().rev().filter(|word| *word != "/");
                names.extend(words.map(PathBuf::from));
            }
            Some(_) => at.push(name),
            None => return false,
        }
    }
    false
}

#[test]
fn a_dynamic_program_comes_with_its_linker_and_libraries_at_their_places() {
    let own = std::env::current_exe().expect("this test has a file");
    let files = HostFiles::take([own.to_str().expect("a path")]).expect("taken");
    assert!(resolves(&files, Path::new("/lib64/ld-linux-x86-64.so.2")), "{:?}", files.tree);
    let has_libc = files.tree.iter().any(|(path, _)| path.ends_with("libc.so.6"));
    assert!(has_libc, "{:?}", files.tree);
    assert_eq!(files.program(own.file_name().and_then(|name| name.to_str()).expect("a name")), Some(&*own));
    let here = std::env::current_dir().expect("there is one");
    let files = HostFiles::take(["./Cargo.toml"]).expect("taken");
    for name in ["Cargo.toml", "./Cargo.toml", "src/../Cargo.toml"] {
        let expected = (!name.contains("..")).then(|| here.join("Cargo.toml"));
        assert_eq!(files.program(name).map(Path::to_owned), expected, "{name}");
    }
    assert!(files.program("sh").is_none() && files.program("/Cargo.toml").is_none());
}

#[test]
fn a_program_is_where_its_name_says_although_bin_is_the_guests_own() {
    let files = HostFiles::take(["/bin/sh"]).expect("taken");
    assert_eq!(guest(&files, "/bin"), Some(Node::Directory(0o755)));
    assert!(resolves(&files, Path::new("/bin/sh")), "{:?}", files.tree);
    let by_name = HostFiles::take(["cat"]).expect("taken");
    assert!(resolves(&by_name, Path::new("/bin/cat")), "{:?}", by_name.tree);
}

#[test]
fn a_script_brings_its_interpreter_and_what_env_looks_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = directory.path().join("script");
    fs::write(&script, "#!/usr/bin/env -S sh -e\necho\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    let files = HostFiles::take([script.to_str().expect("a path")]).expect("taken");
    assert!(resolves(&files, Path::new("/usr/bin/env")));
    assert!(files.tree.iter().any(|(path, _)| path.ends_with("sh")));
    let real = fs::canonicalize(&script).expect("it is there");
    assert_eq!(guest(&files, &real), Some(Node::File(real.clone(), 0o755)));
}

#[test]
fn without_a_wish_nothing_is_taken() {
    assert!(HostFiles::take([] as [&str; 0]).expect("nothing is missing").tree.is_empty());
}

#[test]
fn a_directory_comes_whole_with_its_links() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = fs::canonicalize(directory.path()).expect("it is there");
    fs::create_dir(root.join("sub")).expect("a directory");
    fs::write(root.join("sub/data"), "1").expect("a file");
    symlink("nowhere", root.join("dangling")).expect("a link");
    symlink("sub/data", root.join("link")).expect("a link");
    let files = HostFiles::take([root.to_str().expect("a path")]).expect("taken");
    assert!(matches!(guest(&files, root.join("sub/data")), Some(Node::File(..))));
    assert_eq!(guest(&files, root.join("dangling")), Some(Node::Symlink("nowhere".into())));
    assert!(resolves(&files, &root.join("link")));
}

#[test]
fn what_the_host_lacks_is_said_with_the_package_that_has_it() {
    let said = |wanted: &str| format!("{:#}", HostFiles::take([wanted]).expect_err("not there"));
    assert!(said("/no/such/file").contains("there is no /no/such/file"));
    assert!(said("no-such-program").contains("this host has no program `no-such-program`"));
    assert!(packages::advice("hackbench").contains("apt-get install rt-tests"));
    assert!(packages::advice("schbench").contains("git.kernel.org"));
}

//! Follows docs/tutorial.md word by word, in a copy of the scheduler's crate: what the page says is what happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A block of code: what stands after the fence, and the text.
type Block = (String, String);

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(kind) if !inside => {
                blocks.push((kind.to_owned(), String::new()));
                inside = true;
            }
            Some(_) => inside = false,
            None if inside => {
                let (_, text) = blocks.last_mut().expect("it was pushed when the block began");
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A source tree that has the scheduler alone.
fn copy_of_the_scheduler() -> PathBuf {
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial");
    // What an earlier run left, if there was one.
    let _ = fs::remove_dir_all(&tree);
    for package in ["sched", "tools/formats"] {
        copy(&root().join(package), &tree.join(package));
    }
    fs::copy(root().join("Cargo.lock"), tree.join("Cargo.lock")).unwrap();
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut workspace: toml::Table = workspace.parse().unwrap();
    let members = ["sched", "tools/formats"].map(|member| toml::Value::String(member.into()));
    let table = workspace["workspace"].as_table_mut().unwrap();
    table.remove("default-members");
    table.insert("members".into(), toml::Value::Array(members.into()));
    workspace.remove("profile");
    fs::write(tree.join("Cargo.toml"), workspace.to_string()).unwrap();
    tree
}

/// Runs one line of a shell block, as a reader would in `tree`.
fn follow(line: &str, tree: &Path) -> Output {
    let mut words = line.split(' ').peekable();
    let mut variables = Vec::new();
    while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
        variables.push((name, value));
        words.next();
    }
    assert_eq!(words.next(), Some("cargo"), "`{line}` is no command of cargo");
    let arguments: Vec<&str> = words.collect();
    // The copy has no `tine` of its own: this one stands in for it.
    let mut command = match arguments.as_slice() {
        ["run", "--", rest @ ..] => {
            let mut tine = Command::new(env!("CARGO_BIN_EXE_tine"));
            tine.args(rest).arg("--tree").arg(tree);
            tine
        }
        _ => {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(&arguments).arg("--offline");
            cargo
        }
    };
    // A directory of its own: Cargo takes the crates of the copy for those of the tree that they were copied from.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial-target");
    command.envs(variables).env("CARGO_TARGET_DIR", target).current_dir(tree).output().unwrap()
}

#[test]
fn the_tutorial_does_what_it_says() {
    let tree = copy_of_the_scheduler();
    let file = tree.join("sched/src/balance/my_policy.rs");
    let page = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let (mut replaced, mut said, mut followed) = (None, String::new(), 0);
    for (kind, text) in blocks(&page) {
        match kind.as_str() {
            "sh" | "sh,fails" => {
                for line in text.lines() {
                    let output = follow(line, &tree);
                    said = [output.stdout, output.stderr]
                        .map(|text| String::from_utf8_lossy(&text).into_owned())
                        .concat();
                    assert_eq!(output.status.success(), kind == "sh", "`{line}` said:\n{said}");
                    followed += 1;
                }
            }
            "text,output" => {
                text.lines().for_each(|line| assert!(said.contains(line), "no `{line}` in:\n{said}"));
            }
            "rust,my_policy.rs" => fs::write(&file, text).unwrap(),
            "rust,replace" => replaced = Some(text),
            "rust,with" => {
                let old = replaced.take().expect("a block to replace comes before one to replace it with");
                let source = fs::read_to_string(&file).unwrap();
                assert_eq!(source.matches(&old).count(), 1, "{source}\nhas this not just once:\n{old}");
                fs::write(&file, source.replace(&old, &text)).unwrap();
            }
            "text" => {}
            other => panic!("nobody knows how to follow a block of kind `{other}`"),
        }
    }
    assert_eq!(followed, 5, "the page has another number of commands than this test was written for");
}

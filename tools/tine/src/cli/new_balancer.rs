//! `tine new-balancer`: a skeleton of a policy, registered, so that it compiles and can be chosen at once.

use super::NewBalancerOptions;
use crate::workspace::{Workspace, write_whole};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;

/// Where balancers are, in a source tree.
const DIRECTORY: &str = "sched/src/balance";
const TEMPLATE: &str = include_str!("new_balancer.rs.in");
const MOST_LETTERS: usize = 40;
const TABLE: &str = "static ALL: &[&Entry] = &[";

pub fn new_balancer(options: &NewBalancerOptions) -> Result<()> {
    let name = &options.name;
    let tree = match &options.tree {
        Some(tree) => tree.clone(),
        None => Workspace::find()?.root().to_owned(),
    };
    create(&tree, name)?;
    println!(
        "{DIRECTORY}/{name}.rs is written and registered. Edit it, then:\n\
         \x20 BALANCER={name} cargo test -p tine-sched --test simulated conform\n\
         \x20 cargo run -- run --balancer {name}\n\
         docs/tutorial.md explains each step."
    );
    Ok(())
}

/// Writes the file and registers it. Nothing is changed if anything is wrong.
fn create(tree: &Path, name: &str) -> Result<()> {
    check(name)?;
    let directory = tree.join(DIRECTORY);
    let file = directory.join(name).with_extension("rs");
    let module = directory.join("mod.rs");
    let before = fs::read_to_string(&module).with_context(|| {
        format!("{} is no source tree of Tine: there is no {DIRECTORY}/mod.rs", tree.display())
    })?;
    ensure!(!file.exists(), "there is a balancer `{name}` already: {}", file.display());
    let after = register(&before, name)?;
    write_whole(&file, skeleton(name).as_bytes())?;
    write_whole(&module, after.as_bytes())
}

fn check(name: &str) -> Result<()> {
    let begins = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    ensure!(
        begins && name.chars().all(fits) && name.len() <= MOST_LETTERS && !name.ends_with('_'),
        "`{name}` cannot be the name of a balancer: use up to {MOST_LETTERS} small letters, digits and `_`, as in \
         `my_policy`, beginning with a letter"
    );
    const WORDS: [&str; 41] = [
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do",
        "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
        "loop", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
        "struct", "super", "trait", "true", "type",
    ];
    ensure!(!WORDS.contains(&name), "`{name}` is a word of Rust: choose another name");
    Ok(())
}

/// The text of `mod.rs` with the balancer `name` in it.
fn register(text: &str, name: &str) -> Result<String> {
    let constant = name.to_uppercase();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let declaration = format!("mod {name};");
    if lines.contains(&declaration) {
        bail!("there is a balancer `{name}` already: {DIRECTORY}/mod.rs declares it");
    }
    insert_sorted(&mut lines, declaration, |line| line.starts_with("mod ") && line.ends_with(';'))?;
    let import = format!("pub use {name}::{constant};");
    insert_sorted(&mut lines, import, |line| line.starts_with("pub use ") && line.ends_with(';'))?;
    let table = lines.iter().position(|line| line.trim() == TABLE).with_context(unknown)?;
    let end = lines[table..].iter().position(|line| line.trim() == "];").with_context(unknown)?;
    lines.insert(table + end, format!("        &{constant},"));
    Ok(lines.join("\n") + "\n")
}

/// Inserts `new` among the lines that are `alike` and follow each other, in the order of the alphabet.
fn insert_sorted(lines: &mut Vec<String>, new: String, alike: impl Fn(&str) -> bool) -> Result<()> {
    let first = lines.iter().position(|line| alike(line)).with_context(unknown)?;
    let block = lines[first..].iter().take_while(|line| alike(line));
    let smaller = block.take_while(|line| **line < new).count();
    lines.insert(first + smaller, new);
    Ok(())
}

fn unknown() -> String {
    format!(
        "{DIRECTORY}/mod.rs does not look as expected: it should have lines `mod NAME;`, `pub use NAME::…;`, and a table \
         that begins with `{TABLE}`. Add the balancer by hand: docs/tutorial.md shows the lines"
    )
}

fn skeleton(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    };
    let kind: String = name.split('_').map(word).collect();
    TEMPLATE.replace("my_policy", name).replace("MY_POLICY", &name.to_uppercase()).replace("MyPolicy", &kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "mod a;\nmod none;\n\npub use a::A;\npub use none::NONE;\n\nfn f() {\n    static ALL: &[&Entry] = &[\n        &NONE,\n        &A,\n    ];\n}\n";

    fn tree(module: &str) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join(DIRECTORY)).unwrap();
        fs::write(tree.path().join(DIRECTORY).join("mod.rs"), module).unwrap();
        tree
    }

    fn module(tree: &tempfile::TempDir) -> String {
        fs::read_to_string(tree.path().join(DIRECTORY).join("mod.rs")).unwrap()
    }

    fn refusal(module: &str, name: &str) -> String {
        let tree = tree(module);
        let why = create(tree.path(), name).unwrap_err().to_string();
        assert_eq!(self::module(&tree), module);
        why
    }

    #[test]
    fn a_new_balancer_is_declared_exported_and_in_the_table() {
        let tree = tree(MODULE);
        create(tree.path(), "my_2nd_policy").unwrap();
        assert_eq!(
            module(&tree),
            "mod a;\nmod my_2nd_policy;\nmod none;\n\npub use a::A;\npub use my_2nd_policy::MY_2ND_POLICY;\npub use \
             none::NONE;\n\nfn f() {\n    static ALL: &[&Entry] = &[\n        &NONE,\n        &A,\n        \
             &MY_2ND_POLICY,\n    ];\n}\n"
        );
        let file = fs::read_to_string(tree.path().join(DIRECTORY).join("my_2nd_policy.rs")).unwrap();
        assert!(file.contains("pub static MY_2ND_POLICY") && file.contains("struct My2ndPolicy;"));
        assert!(file.contains("name: \"my_2nd_policy\""));
    }

    #[test]
    fn the_tree_that_this_was_built_from_is_recognised() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(DIRECTORY);
        let module = fs::read_to_string(root.join("mod.rs")).unwrap();
        assert!(register(&module, "zz").unwrap().contains("        &ZZ,\n    ];"));
        assert!(refusal(&module, "idle_steal").contains("already"));
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for name in
            ["", "MyPolicy", "1st", "my-policy", "my policy", "../up", "_x", "x_", "größe", &"x".repeat(41)]
        {
            assert!(refusal(MODULE, name).contains("cannot be the name"), "{name}");
        }
        assert!(refusal(MODULE, "mod").contains("word of Rust"));
    }

    #[test]
    fn what_exists_is_not_overwritten() {
        let tree = tree(MODULE);
        create(tree.path(), "mine").unwrap();
        let after = module(&tree);
        assert!(create(tree.path(), "mine").unwrap_err().to_string().contains("already"));
        assert_eq!(module(&tree), after);
        assert!(refusal(MODULE, "a").contains("already"));
    }

    #[test]
    fn a_tree_that_looks_otherwise_is_left_alone() {
        assert!(refusal("mod a;\npub use a::A;\n", "mine").contains("by hand"));
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(create(elsewhere.path(), "mine").unwrap_err().to_string().contains("no source tree"));
    }
}

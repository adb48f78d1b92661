//! Which shared libraries a program is linked with, and where they are (man 8 ld.so).
//!
//! The headers are read as they are: a damaged file is an error, or has no needs.

use anyhow::{Context, Result, bail};
use elb_dl::{glibc, musl};
use elf::ElfBytes;
use elf::abi::{
    DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRTAB, EM_X86_64, PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use elf::endian::LittleEndian;
use elf::file::Class;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// What the linkers of other distributions look at besides.
const MORE_DIRECTORIES: [&str; 2] = ["/lib64", "/usr/lib64"];
/// What `$LIB` may stand for.
const LIB: [&str; 3] = ["lib/x86_64-linux-gnu", "lib64", "lib"];

/// What an ELF file says of how it is to be linked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Linking {
    /// The dynamic linker.
    pub interpreter: Option<PathBuf>,
    needed: Vec<String>,
    /// Directories, with variables in them.
    rpath: Vec<String>,
    runpath: Vec<String>,
}

impl Linking {
    /// `None` for files that are not linked dynamically.
    ///
    /// # Errors
    /// When it is not for x86-64, or damaged.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{}", path.display()))
    }

    fn parse(file: &[u8]) -> Result<Option<Self>> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)?;
        if elf.ehdr.class != Class::ELF64 || elf.ehdr.e_machine != EM_X86_64 {
            bail!("it is not for x86-64");
        }
        let Some(segments) = elf.segments() else { return Ok(None) };
        let Some(dynamic) = segments.iter().find(|segment| segment.p_type == PT_DYNAMIC) else {
            return Ok(None);
        };
        let entries = elf.segment_data(&dynamic)?.chunks_exact(16);
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let entries: Vec<(i64, u64)> = entries
            .map(|entry| (number(&entry[..8]) as i64, number(&entry[8..])))
            .take_while(|(tag, _)| *tag != DT_NULL)
            .collect();
        let of = |wanted: i64| entries.iter().filter(move |(tag, _)| *tag == wanted).map(|(_, value)| *value);

        let strings = of(DT_STRTAB).next().context("it has no names")?;
        let within = segments
            .iter()
            .filter(|segment| segment.p_type == PT_LOAD)
            .find_map(|segment| {
                let offset = strings.checked_sub(segment.p_vaddr)?;
                (offset < segment.p_filesz).then(|| segment.p_offset.checked_add(offset))?
            })
            .context("its names are not in the file")?;
        let string = |at: u64| {
            let start = usize::try_from(within.checked_add(at).context("a name is beyond the file")?)?;
            text(file.get(start..).context("a name is beyond the file")?)
        };
        let strings = |tag| of(tag).map(string).collect::<Result<Vec<String>>>();
        let directories = |tag| -> Result<Vec<String>> {
            Ok(strings(tag)?.iter().flat_map(|list| list.split(':')).map(str::to_owned).collect())
        };
        let interpreter = segments.iter().find(|segment| segment.p_type == PT_INTERP);
        let interpreter = interpreter.map(|segment| text(elf.segment_data(&segment)?)).transpose()?;
        Ok(Some(Self {
            interpreter: interpreter.map(PathBuf::from),
            needed: strings(DT_NEEDED)?,
            rpath: directories(DT_RPATH)?,
            runpath: directories(DT_RUNPATH)?,
        }))
    }
}

/// The text up to the first zero byte.
fn text(bytes: &[u8]) -> Result<String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(std::str::from_utf8(text)?.to_owned())
}

/// The libraries of one program.
pub struct Libraries {
    is_musl: bool,
    /// Where its dynamic linker looks in the end.
    directories: Vec<PathBuf>,
    /// By the names under which they are needed.
    found: BTreeMap<String, PathBuf>,
}

impl Libraries {
    /// Looks as the dynamic linker of `program` does.
    pub fn of(program: &Path, linking: &Linking) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut is_musl = false;
        if let Some(linker) = &linking.interpreter {
            let name = linker.file_name().unwrap_or_default().to_string_lossy().into_owned();
            is_musl = name.starts_with("ld-musl");
            if !linker.exists() {
                bail!(
                    "{} needs the dynamic linker {}, which is not there",
                    program.display(),
                    linker.display()
                );
            }
            // musl's is the C library as well.
            found.insert(if is_musl { "libc.so".into() } else { name }, linker.clone());
        }
        let directories = if is_musl {
            musl::get_search_dirs("/", "x86_64")?
        } else {
            let more = MORE_DIRECTORIES.map(PathBuf::from);
            glibc::get_search_dirs("/")?.into_iter().chain(more).collect()
        };
        Ok(Self { is_musl, directories, found })
    }

    /// All that are loaded with `program`, the dynamic linker among them.
    pub fn all(mut self, program: &Path, linking: Linking) -> Result<Vec<PathBuf>> {
        // With the directories that those pass on by which they are loaded.
        let mut queue = VecDeque::from([(program.to_owned(), linking, Vec::new())]);
        while let Some((file, linking, inherited)) = queue.pop_front() {
            let rpath = expand(&linking.rpath, &file);
            let runpath = expand(&linking.runpath, &file);
            let passed_on: Vec<PathBuf> = match self.is_musl {
                true => runpath.iter().chain(&rpath).chain(&inherited).cloned().collect(),
                false if runpath.is_empty() => rpath.into_iter().chain(inherited).collect(),
                // RUNPATH is for the file's own needs, and makes RPATH meaningless.
                false => Vec::new(),
            };
            let own = passed_on.iter().chain(&runpath).cloned().collect::<Vec<_>>();
            for name in linking.needed {
                if self.found.contains_key(&name) {
                    continue;
                }
                let (path, linking) = self.find(&name, &own).with_context(|| {
                    format!("{} needs the library {name}, which is not there", file.display())
                })?;
                self.found.insert(name, path.clone());
                queue.push_back((path, linking, passed_on.clone()));
            }
        }
        Ok(self.found.into_values().collect())
    }

    /// The first file of this name that is a library for x86-64.
    fn find(&self, name: &str, first: &[PathBuf]) -> Option<(PathBuf, Linking)> {
        let directories = first.iter().chain(&self.directories);
        directories.map(|directory| directory.join(name)).find_map(|path| {
            let linking = path.is_file().then(|| Linking::read(&path).ok().flatten())??;
            Some((path, linking))
        })
    }
}

/// The directories with their variables replaced, as far as they are there.
fn expand(directories: &[String], file: &Path) -> Vec<PathBuf> {
    let origin = file.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let replace = |text: &str, name: &str, value: &str| {
        text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
    };
    let candidates = directories.iter().flat_map(|directory| {
        let directory = replace(&replace(directory, "ORIGIN", &origin), "PLATFORM", "x86_64");
        LIB.map(|lib| PathBuf::from(replace(&directory, "LIB", lib)))
    });
    candidates.filter(|directory| directory.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_an_error_and_no_more() {
        let own = fs::read(std::env::current_exe().expect("this test has a file")).expect("it can be read");
        let linking = Linking::parse(&own).expect("it is good").expect("it is linked dynamically");
        assert!(linking.needed.iter().any(|name| name == "libc.so.6"), "{linking:?}");
        for len in (0..2048).step_by(7) {
            let _ = Linking::parse(&own[..len]);
        }
        let mut damaged = own[..4096.min(own.len())].to_vec();
        for at in 16..1024 {
            let whole = std::mem::replace(&mut damaged[at], 0xff);
            let _ = Linking::parse(&damaged);
            damaged[at] = whole;
        }
        assert!(Linking::parse(b"no ELF file").is_err());
    }

    #[test]
    fn variables_in_directories_are_replaced_and_what_is_missing_is_left_out() {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(root.path().join("lib64")).expect("a directory");
        let program = root.path().join("bin/program");
        let directories = ["${ORIGIN}/../$LIB", "$ORIGIN/missing"].map(str::to_owned);
        fs::create_dir(root.path().join("bin")).expect("a directory");
        assert_eq!(expand(&directories, &program), [root.path().join("bin/../lib64")]);
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let linking = Linking { needed: vec!["libnobody.so.1".into()], ..Linking::default() };
        let libraries = Libraries::of(Path::new("/p"), &linking).expect("nothing is missing yet");
        let said = libraries.all(Path::new("/p"), linking).expect_err("it is missing").to_string();
        assert_eq!(said, "/p needs the library libnobody.so.1, which is not there");
    }
}

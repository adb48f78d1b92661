//! Scripts: files that begin with `#!` and name the program that reads them (man 2 execve, "Interpreter scripts").

use crate::errno::Errno;
use crate::fs::Program;
use alloc::{string::String, vec::Vec};

/// What is looked at of a file's beginning, as on Linux since 5.1 (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// The first line of a script.
pub struct FirstLine {
    pub interpreter: String,
    /// Everything behind the interpreter, in one piece.
    pub argument: Option<Vec<u8>>,
}

/// The first line of `file` if that is a script.
///
/// # Errors
/// `ENOEXEC` when it names no interpreter or has no end where the interpreter's name could be cut off; `ENOENT` for a name
/// that is not UTF-8, which no file has.
pub fn first_line(file: &Program) -> Result<Option<FirstLine>, Errno> {
    let mut start = [0; FIRST_LINE];
    let len = file.read(0, &mut start)?;
    match start[..len].strip_prefix(b"#!") {
        Some(rest) => parse(rest, len == FIRST_LINE).map(Some),
        None => Ok(None),
    }
}

/// Takes the line behind `#!` apart. `cut_off`: the file goes on where `text` ends.
fn parse(text: &[u8], cut_off: bool) -> Result<FirstLine, Errno> {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | 0));
    let line = trim(&text[..end.unwrap_or(text.len())]);
    let name_end = line.iter().position(is_blank);
    if line.is_empty() || end.is_none() && cut_off && name_end.is_none() {
        return Err(Errno::ENOEXEC);
    }
    let (name, argument) = line.split_at(name_end.unwrap_or(line.len()));
    let interpreter = String::from_utf8(name.to_vec()).map_err(|_| Errno::ENOENT)?;
    let argument = trim(argument);
    Ok(FirstLine { interpreter, argument: (!argument.is_empty()).then(|| argument.to_vec()) })
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without blanks at either end.
fn trim(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

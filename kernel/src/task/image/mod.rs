//! A program's memory before its first instruction: segments, dynamic linker, vDSO, stack.
//!
//! An ELF file is loaded as it is; if it names an interpreter (`PT_INTERP`, the dynamic linker), that is loaded beside it and
//! runs first. A script is replaced by the program that its first line names. [`load`] does both; [`elf`] maps files,
//! [`stack`] writes what the program is told.

mod elf;
mod script;
mod stack;
mod strings;

pub use strings::Strings;

use crate::errno::Errno;
use crate::fs::{self, Dentry, FsContext, Program};
use crate::vdso;
use alloc::{string::String, sync::Arc, vec::Vec};
use elf::{Base, Elf};
use mm::AddressSpace;
use x86_64::VirtAddr;

const PAGE: u64 = mm::PAGE as u64;

/// Where position-independent programs go, as on Linux without randomisation (`ELF_ET_DYN_BASE`).
const PIE_BASE: u64 = 0x5555_5555_4000;
/// The page above the stack stays free.
const STACK_TOP: u64 = 0x7fff_ffff_e000;
/// No program is loaded above: Linux's default RLIMIT_STACK is free for the stack.
const STACK_BOTTOM: u64 = STACK_TOP - (8 << 20);
/// How many scripts may be interpreted by scripts before one is interpreted by a program (man 2 execve).
const MOST_SCRIPTS: usize = 5;
/// How much of the arguments `/proc/PID/cmdline` shows.
const LONGEST_COMMAND_LINE: usize = 64 << 10;

/// What to execute.
pub struct Request {
    pub program: Arc<Dentry>,
    /// The path by which the caller named it, for scripts and for `AT_EXECFN`.
    pub path: String,
    /// The path means something to the caller only: a descriptor that will be closed. Scripts cannot be executed so.
    pub path_vanishes: bool,
    pub arguments: Strings,
    pub environment: Strings,
    /// RLIMIT_STACK: how far the stack may grow, in bytes.
    pub stack_limit: u64,
}

/// What exec and the first start need.
pub struct Image {
    pub space: Arc<AddressSpace>,
    pub entry: VirtAddr,
    pub stack: VirtAddr,
    /// At most 15 bytes, as `comm`.
    pub name: String,
    /// The program's absolute path.
    pub executable: String,
    /// `argv` as in `/proc/PID/cmdline`.
    pub command_line: Vec<u8>,
}

/// The space for arguments and environment in bytes, with a pointer for each string: a quarter of the stack's limit, at
/// least 128 KiB and at most 6 MiB (man 2 execve).
pub struct ArgumentSpace(usize);

impl ArgumentSpace {
    pub fn new(stack_limit: u64) -> Self {
        Self((stack_limit / 4).clamp(128 << 10, 6 << 20) as usize)
    }

    /// How much is left.
    fn left(&self) -> usize {
        self.0
    }

    /// Accounts for so many bytes.
    ///
    /// # Errors
    /// `E2BIG`.
    pub fn take(&mut self, bytes: usize) -> Result<(), Errno> {
        self.0 = self.0.checked_sub(bytes).ok_or(Errno::E2BIG)?;
        Ok(())
    }
}

/// The arguments of a program: those of the caller, but the first ones may be others.
struct Arguments {
    front: Vec<Vec<u8>>,
    rest: Strings,
}

impl Arguments {
    /// No program expects to have no name: it gets an empty one (man 2 execve, "VERSIONS").
    fn new(rest: Strings) -> Self {
        let front = if rest.count() == 0 { Vec::from([Vec::new()]) } else { Vec::new() };
        Self { front, rest }
    }

    /// Puts `words` in the place of the first argument.
    fn replace_first(&mut self, words: impl Iterator<Item = Vec<u8>>) {
        if self.front.is_empty() {
            self.rest.skip_first();
            self.front.extend(words);
        } else {
            self.front.splice(..1, words);
        }
    }

    fn count(&self) -> usize {
        self.front.len() + self.rest.count()
    }

    /// Bytes with all terminators.
    fn len(&self) -> usize {
        self.front.iter().map(|word| word.len() + 1).sum::<usize>() + self.rest.len()
    }

    /// Calls `each` with the bytes in order, in pieces.
    fn pieces(&self, mut each: impl FnMut(&[u8]) -> Result<(), Errno>) -> Result<(), Errno> {
        for word in &self.front {
            each(word)?;
            each(&[0])?;
        }
        self.rest.pieces(each)
    }

    /// For `/proc/PID/cmdline`.
    fn command_line(&self) -> Result<Vec<u8>, Errno> {
        let most = self.len().min(LONGEST_COMMAND_LINE);
        let mut line = Vec::new();
        line.try_reserve_exact(most).map_err(|_| Errno::ENOMEM)?;
        self.pieces(|piece| {
            let room = most - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            Ok(())
        })?;
        Ok(line)
    }
}

/// Makes the memory of a program and puts what it expects into it.
///
/// # Errors
/// `EACCES` for what is no executable file, `ENOEXEC` for no x86-64 program, `ELOOP` for scripts that interpret scripts too
/// deeply, `ELIBBAD` for a bad dynamic linker; `E2BIG`, `ENOMEM`; those of looking up the interpreter.
pub fn load(request: Request, context: &FsContext) -> Result<Image, Errno> {
    let Request { program, path, path_vanishes, arguments, environment, stack_limit } = request;
    let mut arguments = Arguments::new(arguments);
    let file = find_program(program, &path, path_vanishes, &mut arguments, context)?;
    let program = Elf::parse(&file)?;
    let linker = match program.interpreter()? {
        Some(path) => Some(Program::open(&fs::lookup(&path, context)?)?),
        None => None,
    };
    let linker = match &linker {
        Some(file) => Some(Elf::parse(file).map_err(|error| match error {
            Errno::ENOEXEC => Errno::ELIBBAD,
            error => error,
        })?),
        None => None,
    };

    let space = Arc::new(AddressSpace::new()?);
    let vdso = vdso::map(&space)?;
    let loaded = program.load(&space, Base::At(PIE_BASE))?;
    space.set_brk_start(VirtAddr::new(loaded.end.next_multiple_of(PAGE)));
    let linker = linker.map(|linker| linker.load(&space, Base::Anywhere)).transpose()?;
    let contents = stack::Contents {
        program: &loaded,
        interpreter_base: linker.as_ref().map_or(0, |linker| linker.bias),
        vdso: vdso.as_u64(),
        name: path.as_bytes(),
        arguments: &arguments,
        environment: &environment,
    };
    let stack = stack::make(&space, stack_limit, program.wants_executable_stack(), &contents)?;
    let entry = linker.map_or(loaded.entry, |linker| linker.entry);
    Ok(Image {
        space,
        entry: VirtAddr::try_new(entry).map_err(|_| Errno::ENOEXEC)?,
        stack,
        name: comm(&path),
        executable: file.path,
        command_line: arguments.command_line()?,
    })
}

/// The program that runs in the end: what was asked for, or the interpreter of a script. Then the arguments are adapted.
fn find_program(
    program: Arc<Dentry>,
    path: &str,
    path_vanishes: bool,
    arguments: &mut Arguments,
    context: &FsContext,
) -> Result<Program, Errno> {
    let mut file = Program::open(&program)?;
    let mut path = String::from(path);
    let mut scripts = 0;
    while let Some(line) = script::first_line(&file)? {
        if path_vanishes {
            return Err(Errno::ENOENT);
        }
        let interpreter = line.interpreter;
        let words = [Some(interpreter.clone().into_bytes()), line.argument, Some(path.into_bytes())];
        arguments.replace_first(words.into_iter().flatten());
        file = Program::open(&fs::lookup(&interpreter, context)?)?;
        path = interpreter;
        scripts += 1;
        if scripts > MOST_SCRIPTS {
            return Err(Errno::ELOOP);
        }
    }
    Ok(file)
}

/// The last part of a path, cut to what `comm` holds.
fn comm(program: &str) -> String {
    let name = program.rsplit('/').next().unwrap_or(program);
    let mut end = name.len().min(15);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    String::from(&name[..end])
}

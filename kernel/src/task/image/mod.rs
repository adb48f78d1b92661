//! A program's memory before its first instruction: segments, dynamic linker, vDSO, stack.
//!
//! An ELF file is loaded as it is; if it names an interpreter (`PT_INTERP`, the dynamic linker), that is loaded beside it and
//! runs first. A script is replaced by the program that its first line names. [`load`] does both; [`elf`] maps files,
//! [`stack`] writes what the program is told.

mod elf;
mod script;
mod stack;

use crate::errno::Errno;
use crate::fs::{self, Dentry, FsContext, Program};
use crate::{user, vdso};
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
/// The longest single argument, terminator included (`MAX_ARG_STRLEN`, man 2 execve).
const LONGEST_ARGUMENT: usize = 32 * mm::PAGE;

/// What to execute.
pub struct Request {
    pub program: Arc<Dentry>,
    /// The path by which the caller named it, for scripts and for `AT_EXECFN`.
    pub path: String,
    /// The path means something to the caller only: a descriptor that will be closed. Scripts cannot be executed so.
    pub path_vanishes: bool,
    pub arguments: Vec<Vec<u8>>,
    pub environment: Vec<Vec<u8>>,
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

    /// Reads an array of strings, such as `argv`; null means empty, as on Linux.
    ///
    /// # Errors
    /// `E2BIG` when it does not fit or a string is longer than 128 KiB; `EFAULT`.
    pub fn read(&mut self, from: u64) -> Result<Vec<Vec<u8>>, Errno> {
        user::read_strings(from, LONGEST_ARGUMENT, &mut self.0)
    }

    /// Accounts for one string that the kernel adds.
    ///
    /// # Errors
    /// `E2BIG`.
    pub fn add(&mut self, string: &str) -> Result<(), Errno> {
        self.0 = self.0.checked_sub(string.len() + 1).ok_or(Errno::E2BIG)?;
        Ok(())
    }
}

/// Makes the memory of a program and puts what it expects into it.
///
/// # Errors
/// `EACCES` for what is no executable file, `ENOEXEC` for no x86-64 program, `ELOOP` for scripts that interpret scripts too
/// deeply, `ELIBBAD` for a bad dynamic linker; `E2BIG`, `ENOMEM`; those of looking up the interpreter.
pub fn load(request: Request, context: &FsContext) -> Result<Image, Errno> {
    let Request { path, environment, stack_limit, .. } = &request;
    let (file, arguments) = find_program(&request, context)?;
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
        environment,
    };
    let stack = stack::make(&space, *stack_limit, program.wants_executable_stack(), &contents)?;
    let entry = linker.map_or(loaded.entry, |linker| linker.entry);
    Ok(Image {
        space,
        entry: VirtAddr::try_new(entry).map_err(|_| Errno::ENOEXEC)?,
        stack,
        name: comm(path),
        executable: file.path,
        command_line: arguments.iter().flat_map(|word| word.iter().copied().chain([0])).collect(),
    })
}

/// The program that runs in the end, and its arguments: what was asked for, or the interpreter of a script.
fn find_program(request: &Request, context: &FsContext) -> Result<(Program, Vec<Vec<u8>>), Errno> {
    let mut arguments = request.arguments.clone();
    if arguments.is_empty() {
        // No program expects to have no name (man 2 execve, "VERSIONS").
        arguments.push(Vec::new());
    }
    let mut file = Program::open(&request.program)?;
    let mut path = request.path.clone();
    let mut scripts = 0;
    while let Some(line) = script::first_line(&file)? {
        if request.path_vanishes {
            return Err(Errno::ENOENT);
        }
        let interpreter = line.interpreter;
        let words = [Some(interpreter.clone().into_bytes()), line.argument, Some(path.into_bytes())];
        arguments.splice(..1, words.into_iter().flatten());
        file = Program::open(&fs::lookup(&interpreter, context)?)?;
        path = interpreter;
        scripts += 1;
        if scripts > MOST_SCRIPTS {
            return Err(Errno::ELOOP);
        }
    }
    Ok((file, arguments))
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

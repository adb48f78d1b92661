//! The frame around every program: options in, exit status out.

use anyhow::ensure;
use pico_args::Arguments;
use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

/// Runs `body` with the program's arguments. The exit status is 0 if it returned `Ok`; otherwise the error goes to
/// standard error and the status is 1. `--help` prints `usage` instead.
pub fn run(usage: &str, body: impl FnOnce(Options) -> anyhow::Result<()>) -> ExitCode {
    let mut arguments = Arguments::from_env();
    if arguments.contains("--help") {
        println!("usage: {usage}");
        return ExitCode::SUCCESS;
    }
    match body(Options(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILURE: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The path that this program was started by, as the kernel says (AT_EXECFN, see getauxval(3)).
pub fn own_path() -> anyhow::Result<&'static Path> {
    // SAFETY: it reads the auxiliary vector, which is there from the start to the end of the process.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    ensure!(!path.is_null(), "the kernel does not say how this program was started");
    // SAFETY: the kernel put a string there, on the initial stack, which nobody writes to.
    let path = unsafe { CStr::from_ptr(path) };
    Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
}

/// The options that a program was started with.
pub struct Options(Arguments);

impl Options {
    /// The value after `name`, or `default` when the option is absent.
    pub fn value<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &'static str,
        default: T,
    ) -> anyhow::Result<T> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    /// The value after `name`, if the option is there.
    pub fn optional<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &'static str,
    ) -> anyhow::Result<Option<T>> {
        Ok(self.0.opt_value_from_str(name)?)
    }

    pub fn flag(&mut self, name: &'static str) -> bool {
        self.0.contains(name)
    }

    /// The next argument that is no option.
    pub fn word(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.0.opt_free_from_str()?)
    }

    /// Refuses arguments that nobody asked for.
    pub fn finish(self) -> anyhow::Result<()> {
        let rest = self.0.finish();
        ensure!(rest.is_empty(), "unknown arguments {rest:?}; --help says what there is");
        Ok(())
    }
}

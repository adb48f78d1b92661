//! The C library to link user programs with, statically.

use crate::build::cargo::CargoFailed;
use anyhow::{Error, anyhow};

pub const NO_LINKER: &str = "there is no C compiler `cc` to link with. Debian, Ubuntu: `apt-get install gcc libc6-dev`; \
     elsewhere: `gcc`";
pub const NO_STATIC_LIBC: &str = "the static C library is missing. Debian, Ubuntu: `apt-get install libc6-dev`; \
     Fedora: `dnf install glibc-static`; openSUSE: `zypper install glibc-devel-static`; Arch: part of `glibc`";

/// Says what to install when linking a static program failed for want of a linker or of a static C library.
pub fn explain(error: Error) -> Error {
    let said = error.downcast_ref::<CargoFailed>().map(|failed| failed.said.as_str()).unwrap_or_default();
    match reason(said) {
        Some(why) => anyhow!("the user programs cannot be linked: {why}."),
        None => error,
    }
}

fn reason(said: &str) -> Option<&'static str> {
    if said.contains("linker `cc` not found") {
        return Some(NO_LINKER);
    }
    // "ld: cannot find -lc: No such file or directory", or without the reason in older ones; or the start files.
    let missing = ["-lc:", "-lc\n", "-lc\r", "-lm:", "-lm\n", "crt1.o", "crtbeginT.o"];
    let lacks = |line: &str| {
        line.contains("cannot find") && missing.iter().any(|it| format!("{line}\n").contains(it))
    };
    said.lines().any(lacks).then_some(NO_STATIC_LIBC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_told_from_a_mistake_in_a_program() {
        let ld = "  = note: /usr/bin/ld: cannot find -lc: No such file or directory\n collect2: error";
        assert_eq!(reason(ld), Some(NO_STATIC_LIBC));
        assert_eq!(reason("ld: cannot find crt1.o: No such file\n"), Some(NO_STATIC_LIBC));
        assert_eq!(reason("error: linker `cc` not found\n"), Some(NO_LINKER));
        assert_eq!(reason("error[E0425]: cannot find value `libc`\n --> src/-lcx.rs"), None);
    }
}

//! The C library to link user programs with, statically.

use crate::build::cargo::CargoFailed;
use anyhow::{Error, anyhow};

/// Says what to install when linking a static program failed for want of a linker or of a static C library.
pub fn explain(error: Error) -> Error {
    let said = error.downcast_ref::<CargoFailed>().map(|failed| failed.said.as_str()).unwrap_or_default();
    if said.contains("linker `cc` not found") {
        anyhow!(
            "the user programs cannot be linked: there is no C linker `cc`. \
             Install `gcc` (Debian, Ubuntu: `apt-get install gcc libc6-dev`)."
        )
    } else if ["-lc:", "-lc\n", "-lm\n", "crt1.o", "crtbeginT.o", "libc.a"]
        .iter()
        .any(|part| said.contains(part))
        && said.contains("cannot find")
    {
        anyhow!(
            "the user programs cannot be linked: the static C library is missing. Install it: \
             Debian, Ubuntu: `apt-get install libc6-dev`; Fedora: `dnf install glibc-static`; \
             openSUSE: `zypper install glibc-devel-static`; Arch: it is part of `glibc`."
        )
    } else {
        error
    }
}

//! What the programs in `src/bin` share: running checks, children, shared memory, processors, results.
//!
//! The programs are ordinary Linux programs. They need no `/proc` and no `/tmp`, only the devices `/dev/null`,
//! `/dev/zero` and `/dev/urandom`, and hold on Linux exactly as they hold on Tine. What they print to standard output
//! is the same in each run; figures that change go to [`results`].
//!
//! Start at [`program`], and at [`checks`] for the programs that test one promise of the kernel.

pub mod checks;
pub mod children;
pub mod cpus;
pub mod fpu;
pub mod memory;
pub mod place;
pub mod program;
pub mod results;
pub mod shared;
pub mod signals;
pub mod terminal;
pub mod wait;
pub mod work;

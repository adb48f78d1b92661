//! `tine`, the command that users type as `cargo run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tine::cli::main()
}

//! `tine gdb`: a machine that waits for a debugger before its first instruction.

use super::GdbOptions;
use crate::machine::config::Limits;
use crate::machine::watch::{self, Ended};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// Boots, prints how to attach, and waits for the machine's end or ^C.
pub fn gdb(options: &GdbOptions) -> Result<()> {
    let port = options.port;
    // QEMU's own words for this are hard to find among others.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} is in use; choose another one with `--port`"))?;
    let prepared = options.machine.machine().prepare()?;
    let kernel = &prepared.guest.kernel;
    let entry = entry(&fs::read(kernel)?).with_context(|| format!("{} is no ELF file", kernel.display()))?;
    let mut command = prepared.command();
    command.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{port}")]);
    println!(
        "The machine is stopped before its first instruction. In another terminal:\n\n  {}\n\n\
         then `continue` runs to the kernel's entry. Before the kernel has set up its page tables, breakpoints have \
         to be `hbreak`. ^C here ends the machine.\n",
        attach(kernel, port, entry)
    );
    let forever = Limits { boot_s: u32::MAX, run_s: u32::MAX };
    let seen = watch::watch(command, &forever, true, None, None).context("cannot start QEMU")?;
    match seen.ended {
        Ended::Exited(status) if status.code() == Some(1) => bail!("QEMU failed: {}", seen.complaints.trim()),
        Ended::Exited(status) => println!("The machine ended; QEMU's {status}."),
        Ended::Interrupted | Ended::Left | Ended::Silent | Ended::TimedOut => {
            println!("The machine was ended.")
        }
    }
    Ok(())
}

fn attach(kernel: &Path, port: u16, entry: u64) -> String {
    format!("gdb -ex 'target remote localhost:{port}' -ex 'hbreak *{entry:#x}' {}", kernel.display())
}

/// The entry point of a 64-bit ELF file.
fn entry(file: &[u8]) -> Result<u64> {
    ensure!(file.starts_with(b"\x7fELF\x02\x01"), "it does not begin like one");
    let bytes = file.get(24..32).context("it is too short")?;
    Ok(u64::from_le_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_symbols_and_stops_at_the_entry() {
        let line = attach(Path::new("/t/kernel"), 99, 0xffff_ffff_8000_1000);
        assert_eq!(line, "gdb -ex 'target remote localhost:99' -ex 'hbreak *0xffffffff80001000' /t/kernel");
    }

    #[test]
    fn only_an_elf_file_has_an_entry() {
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(24, 0);
        assert!(entry(&file).is_err());
        file.extend(7_u64.to_le_bytes());
        assert_eq!(entry(&file).expect("an entry"), 7);
        assert!(entry(b"#!/bin/sh\n").is_err());
    }
}

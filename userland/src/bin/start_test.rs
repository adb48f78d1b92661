//! What a program is told at its start: the auxiliary vector (getauxval(3)) and the vDSO (vdso(7)).

use anyhow::ensure;
use nix::time::{ClockId, clock_gettime};
use std::ffi::{CStr, c_char, c_long};
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::cpus;

/// Prints the random bytes instead.
const RANDOM: &str = "--random";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(RANDOM) {
        let written = bytes(libc::AT_RANDOM, 16).and_then(|bytes| Ok(std::io::stdout().write_all(bytes)?));
        return ExitCode::from(u8::from(written.is_err()));
    }
    checks::run(
        "start_test",
        &[
            ("the auxiliary vector describes the program", headers),
            ("the auxiliary vector describes the machine", machine),
            ("the random bytes differ from start to start", random),
            ("there is a vDSO with the calls that libraries look for", vdso_symbols),
            ("the clocks of the vDSO are those of the kernel", clocks),
            ("the vDSO knows the processor", processor),
        ],
    )
}

fn auxiliary(key: u64) -> u64 {
    // SAFETY: it reads the auxiliary vector, which is there from the start to the end of the process.
    unsafe { libc::getauxval(key) }
}

/// Bytes of this process at an address that the auxiliary vector names.
fn bytes(key: u64, len: usize) -> anyhow::Result<&'static [u8]> {
    let at = auxiliary(key) as *const u8;
    ensure!(!at.is_null(), "the auxiliary vector has no entry {key}");
    // SAFETY: the kernel has mapped at least that much there, and nobody writes to it.
    Ok(unsafe { std::slice::from_raw_parts(at, len) })
}

fn headers() -> Outcome {
    const LOAD: u32 = 1;
    const SIZE: usize = 56;
    ensure!(auxiliary(libc::AT_PHENT) == SIZE as u64, "the size of a program header");
    let table = bytes(libc::AT_PHDR, SIZE * auxiliary(libc::AT_PHNUM) as usize)?;
    let word = |at: usize| u64::from_ne_bytes(table[at..at + 8].try_into().expect("eight bytes"));
    let entry = auxiliary(libc::AT_ENTRY);
    let has_code = table.chunks(SIZE).enumerate().any(|(index, header)| {
        let kind = u32::from_ne_bytes(header[..4].try_into().expect("four bytes"));
        let executable = header[4] & 1 != 0;
        // The file may have been moved: only the place in the page and the length are certain.
        kind == LOAD && executable && word(index * SIZE + 40) > 0
    });
    ensure!(has_code && entry != 0, "no header is that of code");
    ensure!(auxiliary(libc::AT_BASE) == 0, "a static program has no dynamic linker");
    // SAFETY: the kernel put a string there, on the initial stack, which nobody writes to.
    let name = unsafe { CStr::from_ptr(auxiliary(libc::AT_EXECFN) as *const c_char) };
    ensure!(name.to_str()?.ends_with("start_test"), "the program is called {name:?}");
    Ok(())
}

fn machine() -> Outcome {
    ensure!(auxiliary(libc::AT_PAGESZ) == 4096 && auxiliary(libc::AT_CLKTCK) == 100);
    ensure!(auxiliary(libc::AT_SECURE) == 0 && auxiliary(libc::AT_FLAGS) == 0);
    ensure!(auxiliary(libc::AT_MINSIGSTKSZ) >= libc::MINSIGSTKSZ as u64);
    ensure!(bytes(libc::AT_PLATFORM, 7)? == b"x86_64\0");
    Ok(())
}

fn random() -> Outcome {
    let own = bytes(libc::AT_RANDOM, 16)?;
    ensure!(own != [0; 16] && random_of_child()? != own, "the random bytes are always {own:?}");
    Ok(())
}

/// The random bytes that another start of this program is given.
fn random_of_child() -> anyhow::Result<Vec<u8>> {
    let output = Command::new("/proc/self/exe").arg(RANDOM).output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(output.stdout)
}

fn vdso_symbols() -> Outcome {
    // Linux's has more than one page, and names come at its start.
    let image = bytes(libc::AT_SYSINFO_EHDR, 4096)?;
    ensure!(image.starts_with(b"\x7fELF"), "it is no ELF file");
    let names: [&[u8]; 6] = [
        b"__vdso_clock_gettime\0",
        b"__vdso_clock_getres\0",
        b"__vdso_gettimeofday\0",
        b"__vdso_time\0",
        b"__vdso_getcpu\0",
        b"LINUX_2.6\0",
    ];
    for name in names {
        let found = image.windows(name.len()).any(|window| window == name);
        ensure!(found, "it has no {}", String::from_utf8_lossy(name));
    }
    Ok(())
}

/// The clock as the kernel itself tells it.
fn by_call(clock: ClockId) -> anyhow::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` there.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock.as_raw() as c_long, &raw mut time) };
    ensure!(result == 0, "clock_gettime: {}", std::io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

fn clocks() -> Outcome {
    for clock in [ClockId::CLOCK_MONOTONIC, ClockId::CLOCK_REALTIME, ClockId::CLOCK_BOOTTIME] {
        for _ in 0..1000 {
            let before = by_call(clock)?;
            let between = Duration::from(clock_gettime(clock)?);
            let after = by_call(clock)?;
            ensure!(before <= between && between <= after, "{clock}: {before:?} {between:?} {after:?}");
        }
    }
    // SAFETY: no pointer is given.
    let seconds = unsafe { libc::time(std::ptr::null_mut()) } as u64;
    let now = by_call(ClockId::CLOCK_REALTIME)?.as_secs();
    ensure!(seconds <= now && now - seconds < 60, "time says {seconds}, the kernel {now}");
    // A clock that the vDSO leaves to the kernel.
    let own = Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
    ensure!(own > Duration::ZERO, "no time was spent");
    Ok(())
}

fn processor() -> Outcome {
    for cpu in cpus::allowed()? {
        cpus::pin_to(cpu)?;
        ensure!(cpus::current() == cpu, "on {cpu}, it says {}", cpus::current());
        let (mut by_call, mut node) = (u32::MAX, u32::MAX);
        // SAFETY: the kernel writes a number to each.
        let result = unsafe { libc::syscall(libc::SYS_getcpu, &raw mut by_call, &raw mut node, 0) };
        ensure!(result == 0 && by_call as usize == cpu, "on {cpu}, the kernel says {by_call}");
    }
    Ok(())
}

//! Tables about a process: its limits, mounts, and what it read and wrote.

use super::process::About;
use crate::errno::Errno;
use crate::limits::Limit;
use alloc::{format, string::String, vec::Vec};
use linux_raw_sys::general as linux;

/// Name, number and unit (man 5 proc_pid_limits).
const LIMITS: [(&str, u32, &str); 16] = [
    ("Max cpu time", linux::RLIMIT_CPU, "seconds"),
    ("Max file size", linux::RLIMIT_FSIZE, "bytes"),
    ("Max data size", linux::RLIMIT_DATA, "bytes"),
    ("Max stack size", linux::RLIMIT_STACK, "bytes"),
    ("Max core file size", linux::RLIMIT_CORE, "bytes"),
    ("Max resident set", linux::RLIMIT_RSS, "bytes"),
    ("Max processes", linux::RLIMIT_NPROC, "processes"),
    ("Max open files", linux::RLIMIT_NOFILE, "files"),
    ("Max locked memory", linux::RLIMIT_MEMLOCK, "bytes"),
    ("Max address space", linux::RLIMIT_AS, "bytes"),
    ("Max file locks", linux::RLIMIT_LOCKS, "locks"),
    ("Max pending signals", linux::RLIMIT_SIGPENDING, "signals"),
    ("Max msgqueue size", linux::RLIMIT_MSGQUEUE, "bytes"),
    ("Max nice priority", linux::RLIMIT_NICE, ""),
    ("Max realtime priority", linux::RLIMIT_RTPRIO, ""),
    ("Max realtime timeout", linux::RLIMIT_RTTIME, "us"),
];

pub fn limits(about: &About) -> Result<Vec<u8>, Errno> {
    let value = |value: u64| match value {
        Limit::UNLIMITED => String::from("unlimited"),
        value => format!("{value}"),
    };
    let row =
        |name: &str, soft: &str, hard: &str, unit: &str| format!("{name:25} {soft:20} {hard:20} {unit:10}\n");
    let limits = about.process.limits.lock().clone();
    let mut text = row("Limit", "Soft Limit", "Hard Limit", "Units");
    for (name, number, unit) in LIMITS {
        let limit = limits.get(number)?;
        text += &row(name, &value(limit.soft), &value(limit.hard), unit);
    }
    Ok(text.into_bytes())
}

/// Place, type, device, options.
const MOUNTS: [(&str, &str, &str, u32); 5] = [
    ("/", "tmpfs", "rootfs", 2),
    ("/proc", "proc", "proc", 21),
    ("/dev", "devtmpfs", "devtmpfs", 6),
    ("/dev/shm", "tmpfs", "tmpfs", 2),
    ("/sys", "sysfs", "sysfs", 22),
];

/// Dump and check order are of no use.
pub fn mounts(_: &About) -> Result<Vec<u8>, Errno> {
    let line = |(place, kind, device, _): &(&str, &str, &str, u32)| {
        format!("{device} {place} {kind} rw,relatime 0 0\n")
    };
    Ok(MOUNTS.iter().map(line).collect::<String>().into_bytes())
}

/// Mount, parent, device, root, place, options, type, source, options of the file system.
pub fn mountinfo(_: &About) -> Result<Vec<u8>, Errno> {
    let mut text = String::new();
    for (number, (place, kind, device, minor)) in (1..).zip(MOUNTS) {
        let parent = if number == 1 { 0 } else { 1 };
        text += &format!(
            "{number} {parent} 0:{minor} / {place} rw,relatime shared:{number} - {kind} {device} rw\n"
        );
    }
    Ok(text.into_bytes())
}

/// Tine does not count this.
pub fn io(_: &About) -> Result<Vec<u8>, Errno> {
    let names = ["rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes"];
    Ok(names.iter().map(|name| format!("{name}: 0\n")).collect::<String>().into_bytes())
}

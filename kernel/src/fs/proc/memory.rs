//! Files about the memory of the machine.

use super::system::Answer;
use alloc::{format, string::String};
use mm::PAGE;

/// In KiB (man 5 proc_meminfo). There is no swap, no block device whose blocks would be cached, and no limit of commitment.
pub fn meminfo() -> Answer {
    let kib = |bytes: u64| bytes / 1024;
    let frames = |count: usize| kib((count * PAGE) as u64);
    let (total, free) = (frames(mm::frames::total()), frames(mm::frames::free()));
    let usage = mm::usage();
    let kernel = kib(usage.heap + usage.stacks + usage.page_tables);
    let programs = (total - free).saturating_sub(kernel);
    let rows = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", programs),
        ("Inactive", 0),
        ("Active(anon)", programs),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", programs),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        ("Slab", kib(usage.heap)),
        ("SReclaimable", 0),
        ("SUnreclaim", kib(usage.heap)),
        ("KernelStack", kib(usage.stacks)),
        ("PageTables", kib(usage.page_tables)),
        ("CommitLimit", total),
        ("Committed_AS", programs),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
        ("HugePages_Total", 0),
    ];
    let text: String = rows
        .iter()
        .map(|(name, value)| match *name {
            "HugePages_Total" => String::from(
                "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n\
                 Hugepagesize:       2048 kB\n",
            ),
            _ => format!("{:<15} {value:>8} kB\n", format!("{name}:")),
        })
        .collect();
    Ok(text.into_bytes())
}

/// `NAME VALUE` on each line (man 5 proc_vmstat): pages in use; nothing is paged in or out.
pub fn vmstat() -> Answer {
    let used = mm::frames::total() - mm::frames::free();
    let stacks = mm::usage().stacks / 1024;
    let rows = [
        ("nr_free_pages", mm::frames::free() as u64),
        ("nr_inactive_anon", 0),
        ("nr_active_anon", used as u64),
        ("nr_inactive_file", 0),
        ("nr_active_file", 0),
        ("nr_kernel_stack", stacks),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
        ("pgfault", 0),
        ("pgmajfault", 0),
    ];
    Ok(rows.iter().map(|(name, value)| format!("{name} {value}\n")).collect::<String>().into_bytes())
}

//! What is to be said of a process or thread: `stat`, `statm`, `status`, `sched` (man 5 proc_pid_stat and others).

use super::process::{About, TICK_NS};
use crate::cpus;
use crate::errno::Errno;
use crate::signal;
use alloc::{format, string::String, vec::Vec};
use core::sync::atomic::Ordering::Relaxed;
use formats::CpuSet;
use linux_raw_sys::general as linux;
use mm::{PAGE, Prot};
use sched::Policy;

/// Sizes in bytes.
#[derive(Default)]
struct Memory {
    size: u64,
    resident: u64,
    /// What may be written and is no one else's, the stack, and what is executed.
    data: u64,
    stack: u64,
    code: u64,
    /// Of files.
    libraries: u64,
}

impl Memory {
    fn of(about: &About) -> Result<Self, Errno> {
        let Some(space) = about.process.space() else { return Ok(Self::default()) };
        let mut memory = Self { resident: space.resident() * PAGE as u64, ..Self::default() };
        for area in space.areas()? {
            let bytes = area.end - area.start;
            memory.size += bytes;
            if area.name() == "[stack]" {
                memory.stack += bytes;
            } else if area.prot.contains(Prot::EXEC) {
                memory.code += bytes;
            } else if area.prot.contains(Prot::WRITE) && !area.shared {
                memory.data += bytes;
            }
            if area.object.is_some() {
                memory.libraries += bytes;
            }
        }
        Ok(memory)
    }
}

/// What is common to the files.
struct Summary {
    name: String,
    state: char,
    /// Ticks of the clock since the start of the machine.
    started: u64,
    /// CPU time in nanoseconds.
    ran: u64,
    /// As `top` shows it: 20 plus the nice value, or less than 0 for real-time threads.
    priority: i64,
    nice: i64,
    real_time: u8,
    policy: u32,
    cpu: u32,
}

impl Summary {
    fn of(about: &About) -> Self {
        let process = &about.process;
        let threads: Vec<_> = about.tasks().iter().filter_map(|task| task.thread()).collect();
        let state = if process.has_ended() {
            'Z'
        } else if signal::is_stopped(process) {
            'T'
        } else if threads.iter().all(|thread| thread.is_asleep()) {
            'S'
        } else {
            'R'
        };
        let leader = about.leader();
        let thread = about.thread();
        let nice = leader.map_or(0, |task| i64::from(task.nice.load(Relaxed)));
        let policy = thread.as_ref().map(|thread| thread.policy());
        let (number, real_time) = match policy {
            Some(Policy::Deadline(_)) => (linux::SCHED_DEADLINE, 0),
            Some(Policy::Fifo { priority }) => (linux::SCHED_FIFO, priority),
            Some(Policy::RoundRobin { priority }) => (linux::SCHED_RR, priority),
            Some(Policy::Batch(_)) => (linux::SCHED_BATCH, 0),
            Some(Policy::Idle) => (linux::SCHED_IDLE, 0),
            Some(Policy::Normal(_)) | None => (linux::SCHED_NORMAL, 0),
        };
        let priority = match number {
            linux::SCHED_DEADLINE => -101,
            linux::SCHED_FIFO | linux::SCHED_RR => -1 - i64::from(real_time),
            _ => 20 + nice,
        };
        let name = process.identity.lock().name.clone();
        Self {
            name,
            state,
            started: thread.as_ref().map_or(0, |thread| thread.started_at().as_ticks()) / TICK_NS,
            ran: match &about.task {
                Some(_) => thread.as_ref().map_or(0, |thread| cpus::cpu_time(thread).as_ticks()),
                None => process.cpu_time().as_ticks(),
            },
            priority,
            nice,
            real_time,
            policy: number,
            cpu: thread.as_ref().map_or(0, |thread| thread.cpu().0),
        }
    }
}

/// One line of 52 fields. Time is not told apart into the program's and the system's; what Tine does not count is 0.
pub fn stat(about: &About) -> Result<Vec<u8>, Errno> {
    let summary = Summary::of(about);
    let memory = Memory::of(about)?;
    let process = &about.process;
    let masks = about.leader().map(|task| signal::masks(&task)).unwrap_or_default();
    let threads = process.threads.lock().len();
    let text = format!(
        "{id} ({name}) {state} {parent} {group} {session} 0 -1 0 0 0 0 0 {ran} 0 {children} 0 {priority} {nice} {threads} 0 \
         {start} {size} {resident} {limit} 0 0 0 0 0 {pending} {blocked} {ignored} {caught} 0 0 0 {signal} {cpu} \
         {real_time} {policy} 0 0 0 0 0 0 0 0 0 0 0\n",
        id = about.id(),
        name = summary.name,
        state = summary.state,
        parent = process.parent_id(),
        group = process.group.load(Relaxed),
        session = process.session.load(Relaxed),
        ran = summary.ran / TICK_NS,
        children = process.children_ns.load(Relaxed) / TICK_NS,
        priority = summary.priority,
        nice = summary.nice,
        start = summary.started,
        size = memory.size,
        resident = memory.resident / PAGE as u64,
        limit = u64::MAX,
        // As on Linux, of the first 31 signals, since that is what the fields were made for.
        pending = masks.pending.0 & 0x7fff_ffff,
        blocked = masks.blocked.0 & 0x7fff_ffff,
        ignored = masks.ignored.0 & 0x7fff_ffff,
        caught = masks.caught.0 & 0x7fff_ffff,
        signal = process.exit_signal.load(Relaxed),
        cpu = summary.cpu,
        real_time = summary.real_time,
        policy = summary.policy,
    );
    Ok(text.into_bytes())
}

/// In pages: all, resident, shared, code, 0, data and stack, 0.
pub fn statm(about: &About) -> Result<Vec<u8>, Errno> {
    let memory = Memory::of(about)?;
    let pages = |bytes: u64| bytes / PAGE as u64;
    let shared = pages(memory.libraries).min(pages(memory.resident));
    let text = format!(
        "{} {} {shared} {} 0 {} 0\n",
        pages(memory.size),
        pages(memory.resident),
        pages(memory.code),
        pages(memory.data + memory.stack)
    );
    Ok(text.into_bytes())
}

pub fn status(about: &About) -> Result<Vec<u8>, Errno> {
    let summary = Summary::of(about);
    let process = &about.process;
    let state = match summary.state {
        'R' => "R (running)",
        'S' => "S (sleeping)",
        'T' => "T (stopped)",
        _ => "Z (zombie)",
    };
    let (umask, who) = {
        let context = process.fs.lock();
        (context.umask(), context.credentials().clone())
    };
    let ids = |ids: crate::fs::Ids| format!("{}\t{}\t{}\t{}", ids.real, ids.effective, ids.saved, ids.file);
    let groups: String = who.groups.iter().map(|group| format!("{group} ")).collect();
    let mut text = format!(
        "Name:\t{name}\nUmask:\t{umask:04o}\nState:\t{state}\nTgid:\t{process_id}\nNgid:\t0\nPid:\t{id}\nPPid:\t{parent}\n\
         TracerPid:\t0\nUid:\t{users}\nGid:\t{group_ids}\nFDSize:\t{descriptors}\nGroups:\t{groups}\nNStgid:\t{process_id}\n\
         NSpid:\t{id}\nNSpgid:\t{group}\nNSsid:\t{session}\nKthread:\t0\n",
        name = summary.name,
        process_id = process.id,
        id = about.id(),
        parent = process.parent_id(),
        users = ids(who.user),
        group_ids = ids(who.group),
        descriptors = process.files().size(),
        group = process.group.load(Relaxed),
        session = process.session.load(Relaxed),
    );
    if process.space().is_some() {
        text += &memory_lines(&Memory::of(about)?);
    }
    text += &format!("Threads:\t{}\n", process.threads.lock().len());
    text += &signal_lines(about);
    text += &scheduling_lines(about.thread().as_deref());
    Ok(text.into_bytes())
}

/// In KiB. There is no swap and no record of peaks: the present is the peak.
fn memory_lines(memory: &Memory) -> String {
    let rows = [
        ("VmPeak", memory.size),
        ("VmSize", memory.size),
        ("VmLck", 0),
        ("VmPin", 0),
        ("VmHWM", memory.resident),
        ("VmRSS", memory.resident),
        ("RssAnon", memory.resident.saturating_sub(memory.libraries)),
        ("RssFile", memory.resident.min(memory.libraries)),
        ("RssShmem", 0),
        ("VmData", memory.data),
        ("VmStk", memory.stack),
        ("VmExe", memory.code),
        ("VmLib", memory.libraries),
        ("VmPTE", 0),
        ("VmSwap", 0),
    ];
    rows.iter().map(|(name, bytes)| format!("{name}:\t{:8} kB\n", bytes / 1024)).collect()
}

fn signal_lines(about: &About) -> String {
    let masks = about.leader().map(|task| signal::masks(&task)).unwrap_or_default();
    let most = about.process.limits.lock().get(linux::RLIMIT_SIGPENDING).map_or(0, |limit| limit.soft);
    let rows = [
        ("SigPnd", masks.own_pending),
        ("ShdPnd", masks.pending),
        ("SigBlk", masks.blocked),
        ("SigIgn", masks.ignored),
        ("SigCgt", masks.caught),
    ];
    let rows: String = rows.iter().map(|(name, set)| format!("{name}:\t{:016x}\n", set.0)).collect();
    // Everything for user 0, nothing for others; and no way to change that.
    let is_root = about.process.fs.lock().credentials().is_root();
    let capabilities = if is_root { 0x1ff_ffff_ffff_u64 } else { 0 };
    format!(
        "SigQ:\t0/{most}\n{rows}CapInh:\t{none:016x}\nCapPrm:\t{capabilities:016x}\nCapEff:\t{capabilities:016x}\n\
         CapBnd:\t{all:016x}\nCapAmb:\t{none:016x}\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n",
        none = 0,
        all = 0x1ff_ffff_ffff_u64,
    )
}

/// The lines of `status` about a thread's scheduling.
fn scheduling_lines(thread: Option<&sched::Thread>) -> String {
    let Some(thread) = thread else { return String::new() };
    let affinity: CpuSet = thread.affinity();
    let cpus = String::from_utf8(crate::fs::sys::list(&affinity)).unwrap_or_default();
    let mask = crate::fs::sys::mask(&affinity);
    let stats = thread.stats();
    format!(
        "Cpus_allowed:\t{mask}\nCpus_allowed_list:\t{cpus}Mems_allowed:\t1\nMems_allowed_list:\t0\n\
         voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        stats.voluntary_switches(),
        stats.involuntary_switches()
    )
}

/// Of what Linux's scheduler shows, what Tine's has as well. Times in milliseconds.
pub fn sched(about: &About) -> Result<Vec<u8>, Errno> {
    let summary = Summary::of(about);
    let threads = about.process.threads.lock().len();
    let title = format!("{} ({}, #threads: {threads})", summary.name, about.id());
    let line = "-".repeat(67);
    let mut text = format!("{title}\n{line}\n");
    if let Some(thread) = about.thread() {
        let stats = thread.stats();
        let ms = |ns: u64| format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000);
        let (voluntary, involuntary) = (stats.voluntary_switches(), stats.involuntary_switches());
        let rows = [
            ("se.exec_start", ms(thread.started_at().as_ticks())),
            ("se.sum_exec_runtime", ms(cpus::cpu_time(&thread).as_ticks())),
            ("se.nr_migrations", format!("{}", thread.migrations())),
            ("nr_switches", format!("{}", voluntary + involuntary)),
            ("nr_voluntary_switches", format!("{voluntary}")),
            ("nr_involuntary_switches", format!("{involuntary}")),
            ("wait_sum", ms(stats.run_delay().as_ticks())),
            ("wait_max", ms(stats.longest_delay().as_ticks())),
            ("policy", format!("{}", summary.policy)),
            ("prio", format!("{}", 100 + summary.priority)),
        ];
        text.extend(rows.iter().map(|(name, value)| format!("{name:45}:{value:>21}\n")));
    }
    Ok(text.into_bytes())
}

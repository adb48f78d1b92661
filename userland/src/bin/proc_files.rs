//! /proc and /sys as the tools that read them expect them (man 5 proc): ps, top, free, vmstat, mpstat, lscpu.

use anyhow::{Context, ensure};
use nix::unistd::{getpid, getppid, gettid};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use userland::checks::{self, Outcome};
use userland::children::Child;

fn main() -> ExitCode {
    checks::run(
        "proc_files",
        &[
            ("stat of a process has its 52 fields", stat),
            ("stat tells states apart", states),
            ("status has the lines that ps reads", status),
            ("statm and maps agree on the size", statm),
            ("a thread has its own directory", threads),
            ("links lead to the program and the directories", process_links),
            ("comm can be written", comm),
            ("limits is a table", limits),
            ("a process that is gone has no directory", gone),
            ("files of other processes can be read", others),
            ("stat of the machine counts CPUs, switches and processes", machine_stat),
            ("meminfo has the lines that free reads", meminfo),
            ("loadavg, uptime and version have their forms", small_files),
            ("cpuinfo has an entry for each CPU", cpuinfo),
            ("interrupts has a column for each CPU", interrupts),
            ("settings of the kernel can be read", settings),
            ("sysfs tells where the CPUs are", topology),
            ("mounts shows the file systems", mounts),
        ],
    )
}

fn text(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| String::from(path))
}

/// `NAME: VALUE` lines.
fn lines(text: &str) -> HashMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect()
}

/// The fields after the name of the program, which may contain anything, and the name.
fn fields(stat: &str) -> anyhow::Result<(Vec<&str>, &str)> {
    let (start, end) = (stat.find('(').context("no name")?, stat.rfind(')').context("no name")?);
    Ok((stat[end + 2..].split_whitespace().collect(), &stat[start + 1..end]))
}

fn stat() -> Outcome {
    let stat = text("/proc/self/stat")?;
    let (fields, name) = fields(&stat)?;
    ensure!(name == "proc_files", "called {name}");
    ensure!(fields.len() == 50, "{} fields after the name", fields.len());
    ensure!(fields[0] == "R", "state {}", fields[0]);
    ensure!(fields[1] == getppid().to_string(), "parent {}", fields[1]);
    ensure!(fields[17] == "1", "{} threads", fields[17]);
    let size: u64 = fields[20].parse()?;
    ensure!(size > 100_000, "size {size}");
    ensure!(fields.iter().skip(1).all(|field| field.parse::<i128>().is_ok()), "not all are numbers");
    Ok(())
}

fn states() -> Outcome {
    let state = |child: &Child| -> anyhow::Result<String> {
        let stat = text(&format!("/proc/{}/stat", child.pid()))?;
        Ok(String::from(fields(&stat)?.0[0]))
    };
    let wait = |child: &Child, wanted: &str| -> Outcome {
        while state(child)? != wanted {
            thread::yield_now();
        }
        Ok(())
    };
    let child = Child::start(|| {
        loop {
            thread::sleep(std::time::Duration::from_secs(1));
        }
    })?;
    wait(&child, "S")?;
    child.signal(nix::sys::signal::Signal::SIGSTOP)?;
    wait(&child, "T")?;
    child.signal(nix::sys::signal::Signal::SIGKILL)?;
    wait(&child, "Z")?;
    let command_line = fs::read(format!("/proc/{}/cmdline", child.pid()))?;
    ensure!(command_line.is_empty(), "a zombie has a command line");
    Ok(())
}

fn status() -> Outcome {
    let text = text("/proc/self/status")?;
    let lines = lines(&text);
    let value = |name: &str| lines.get(name).copied().with_context(|| format!("no {name}"));
    ensure!(value("Name")? == "proc_files", "name");
    ensure!(value("Pid")? == getpid().to_string(), "number");
    ensure!(value("PPid")? == getppid().to_string(), "parent");
    ensure!(value("State")? == "R (running)", "state {}", value("State")?);
    ensure!(value("Uid")?.split_whitespace().count() == 4, "users");
    ensure!(value("Threads")? == "1", "threads");
    for name in ["VmPeak", "VmSize", "VmRSS", "VmData", "VmStk", "VmExe", "VmLib", "VmSwap"] {
        ensure!(value(name)?.ends_with(" kB"), "{name}: {}", value(name)?);
    }
    for name in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapEff"] {
        ensure!(value(name)?.len() == 16, "{name}: {}", value(name)?);
    }
    for name in ["Cpus_allowed", "Cpus_allowed_list", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
    {
        ensure!(!value(name)?.is_empty(), "{name}");
    }
    Ok(())
}

fn statm() -> Outcome {
    let statm = text("/proc/self/statm")?;
    let pages: Vec<u64> = statm.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(pages.len() == 7, "{} numbers", pages.len());
    ensure!(pages[0] >= pages[1] && pages[1] > 0, "resident {} of {}", pages[1], pages[0]);
    let maps = text("/proc/self/maps")?;
    ensure!(maps.lines().any(|line| line.ends_with("[stack]")), "no stack");
    ensure!(maps.lines().any(|line| line.ends_with("/proc_files")), "no program");
    Ok(())
}

fn threads() -> Outcome {
    let main = gettid();
    let (send, receive) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _ = send.send(gettid());
        let _ = stopped.recv();
    });
    let other = receive.recv()?;
    let mut ids: Vec<String> = fs::read_dir("/proc/self/task")?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    ids.sort();
    let mut expected = [main.to_string(), other.to_string()];
    expected.sort();
    ensure!(ids == expected, "threads {ids:?}");
    let stat = text(&format!("/proc/self/task/{other}/stat"))?;
    ensure!(stat.starts_with(&format!("{other} (")), "{stat}");
    ensure!(fields(&stat)?.0[17] == "2", "not two threads");
    let text = text(&format!("/proc/self/task/{other}/status"))?;
    ensure!(lines(&text)["Tgid"] == getpid().to_string(), "of another process");
    ensure!(fs::read_link("/proc/thread-self")?.ends_with(format!("task/{main}")), "another thread");
    drop(stop);
    thread.join().expect("the thread does not panic");
    Ok(())
}

fn process_links() -> Outcome {
    let link = |name: &str| fs::read_link(format!("/proc/self/{name}"));
    ensure!(link("exe")?.ends_with("proc_files"), "program {:?}", link("exe")?);
    ensure!(link("root")? == Path::new("/"), "root");
    std::env::set_current_dir("/proc")?;
    ensure!(link("cwd")? == Path::new("/proc"), "directory {:?}", link("cwd")?);
    ensure!(fs::metadata("/proc/self/cwd/self/stat")?.is_file(), "the link leads elsewhere");
    ensure!(fs::read_link("/proc/self")?.to_string_lossy() == getpid().to_string(), "another process");
    ensure!(fs::read("/proc/self/exe")?.starts_with(b"\x7fELF"), "no program");
    Ok(())
}

fn comm() -> Outcome {
    fs::write("/proc/self/comm", "a name that is too long")?;
    ensure!(text("/proc/self/comm")? == "a name that is \n", "{:?}", text("/proc/self/comm")?);
    Ok(())
}

fn limits() -> Outcome {
    let text = text("/proc/self/limits")?;
    let row =
        |name: &str| text.lines().find(|line| line.starts_with(name)).with_context(|| String::from(name));
    ensure!(row("Limit")?.contains("Soft Limit           Hard Limit           Units"), "head");
    ensure!(row("Max open files")?.trim_end().ends_with("files"), "open files");
    ensure!(text.lines().count() == 17, "{} lines", text.lines().count());
    Ok(())
}

fn gone() -> Outcome {
    let child = Child::start(|| 0)?;
    let path = format!("/proc/{}", child.pid());
    child.expect_exit(0)?;
    ensure!(!Path::new(&path).exists(), "still there");
    Ok(())
}

fn others() -> Outcome {
    let parent = getppid();
    for name in [
        "stat",
        "status",
        "statm",
        "cmdline",
        "comm",
        "limits",
        "schedstat",
        "sched",
        "oom_score_adj",
        "wchan",
    ] {
        fs::read(format!("/proc/{parent}/{name}")).with_context(|| String::from(name))?;
    }
    let count = fs::read_dir("/proc")?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .count();
    ensure!(count >= 2, "{count} processes");
    Ok(())
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get())
}

fn machine_stat() -> Outcome {
    let text = text("/proc/stat")?;
    let numbers = |name: &str| -> anyhow::Result<Vec<u64>> {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let words = line.with_context(|| String::from(name))?.split_whitespace().skip(1);
        Ok(words.map(str::parse).collect::<Result<_, _>>()?)
    };
    ensure!(numbers("cpu")?.len() == 10, "{} times", numbers("cpu")?.len());
    let per_cpu = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    ensure!(per_cpu >= cpus(), "{per_cpu} CPUs");
    ensure!(numbers("btime")?[0] > 1_600_000_000, "the machine started long ago");
    ensure!(numbers("processes")?[0] >= 1, "no processes");
    ensure!(numbers("procs_running")?[0] >= 1, "this one runs");
    for name in ["intr", "ctxt", "procs_blocked", "softirq"] {
        numbers(name)?;
    }
    Ok(())
}

fn meminfo() -> Outcome {
    let text = text("/proc/meminfo")?;
    let lines = lines(&text);
    let kib = |name: &str| -> anyhow::Result<u64> {
        let value = lines.get(name).with_context(|| format!("no {name}"))?;
        Ok(value.strip_suffix(" kB").context("no unit")?.trim().parse()?)
    };
    for name in ["Buffers", "Cached", "SwapTotal", "SwapFree", "Slab", "SReclaimable", "Shmem", "Dirty"] {
        kib(name)?;
    }
    ensure!(kib("MemTotal")? > kib("MemFree")? && kib("MemFree")? > 0, "free of total");
    ensure!(kib("MemAvailable")? > 0, "nothing available");
    Ok(())
}

fn small_files() -> Outcome {
    let load = text("/proc/loadavg")?;
    let words: Vec<&str> = load.split_whitespace().collect();
    ensure!(words.len() == 5 && words[3].contains('/'), "{load:?}");
    ensure!(words[..3].iter().all(|word| word.parse::<f64>().is_ok()), "{load:?}");
    let uptime = text("/proc/uptime")?;
    ensure!(uptime.split_whitespace().filter(|word| word.parse::<f64>().is_ok()).count() == 2, "{uptime:?}");
    ensure!(text("/proc/version")?.starts_with("Linux version "), "version");
    ensure!(text("/proc/filesystems")?.contains("nodev\ttmpfs"), "filesystems");
    ensure!(text("/proc/vmstat")?.starts_with("nr_free_pages "), "vmstat");
    Ok(())
}

fn cpuinfo() -> Outcome {
    let text = text("/proc/cpuinfo")?;
    let entries: Vec<_> = text.trim().split("\n\n").map(lines).collect();
    ensure!(entries.len() >= cpus(), "{} entries", entries.len());
    for entry in &entries {
        for name in
            ["processor", "vendor_id", "cpu family", "model", "model name", "cpu MHz", "flags", "bogomips"]
        {
            ensure!(entry.contains_key(name), "no {name}");
        }
        ensure!(entry["flags"].split(' ').any(|flag| flag == "sse2"), "a processor without SSE2");
    }
    Ok(())
}

fn interrupts() -> Outcome {
    let text = text("/proc/interrupts")?;
    let head = text.lines().next().context("empty")?;
    ensure!(head.split_whitespace().count() >= cpus(), "{head}");
    ensure!(text.lines().any(|line| line.trim_start().starts_with("LOC:")), "no timer");
    Ok(())
}

fn settings() -> Outcome {
    ensure!(text("/proc/sys/kernel/ostype")? == "Linux\n", "ostype");
    for name in ["osrelease", "hostname", "pid_max", "threads-max", "sched_rr_timeslice_ms"] {
        ensure!(!text(&format!("/proc/sys/kernel/{name}"))?.trim().is_empty(), "{name}");
    }
    for name in ["fs/file-max", "fs/nr_open", "fs/pipe-max-size", "vm/overcommit_memory"] {
        text(&format!("/proc/sys/{name}"))?.trim().parse::<u64>().with_context(|| String::from(name))?;
    }
    let uuid = || text("/proc/sys/kernel/random/uuid");
    ensure!(uuid()?.len() == 37 && uuid()? != uuid()?, "uuid");
    ensure!(text("/proc/sys/kernel/random/boot_id")? == text("/proc/sys/kernel/random/boot_id")?, "boot id");
    Ok(())
}

fn topology() -> Outcome {
    let cpu = "/sys/devices/system/cpu";
    for name in ["online", "possible", "present"] {
        ensure!(text(&format!("{cpu}/{name}"))?.starts_with('0'), "{name}");
    }
    for name in ["core_id", "physical_package_id"] {
        text(&format!("{cpu}/cpu0/topology/{name}"))?
            .trim()
            .parse::<i32>()
            .with_context(|| String::from(name))?;
    }
    for name in ["thread_siblings_list", "core_siblings_list"] {
        ensure!(text(&format!("{cpu}/cpu0/topology/{name}"))?.starts_with('0'), "{name}");
    }
    u64::from_str_radix(
        text(&format!("{cpu}/cpu0/topology/core_siblings"))?.trim().rsplit(',').next().unwrap_or(""),
        16,
    )?;
    Ok(())
}

fn mounts() -> Outcome {
    let text = text("/proc/self/mounts")?;
    ensure!(text.lines().any(|line| line.split(' ').nth(1) == Some("/proc")), "no /proc");
    ensure!(text.lines().all(|line| line.split(' ').count() == 6), "fields");
    ensure!(
        fs::read_to_string("/proc/self/mountinfo")?.lines().all(|line| line.contains(" - ")),
        "mountinfo"
    );
    Ok(())
}

//! Processors go offline and come back under load, and nothing is stranded: running, waiting and sleeping threads go on
//! elsewhere, new children start, and what is allowed is what is online.
//!
//! Only on Tine. A Linux machine that runs this may be somebody's; there each check holds without looking.

use anyhow::{Context, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::Child;
use userland::memory::Pages;
use userland::{cpus, wait};

const CPUS: &str = "/sys/devices/system/cpu";

fn main() -> ExitCode {
    checks::run(
        "cpu_hotplug",
        &[
            ("threads leave a processor that goes offline, and use it when it is back", threads_leave),
            ("what is online is what is allowed", sets_agree),
            ("a thread that may run nowhere else goes on elsewhere, and comes back", pinned_threads_go_on),
            ("a thread that sends its own processor offline goes on elsewhere", leaves_its_own),
            ("sleepers wake up in time although their processor is offline", sleepers_wake),
            ("children that are being started while processors come and go all finish", children_finish),
            ("with one processor online, all goes on", one_is_enough),
            ("the first processor has no switch, and others take only 0 and 1", refuses),
        ],
    )
}

/// Processors that can be sent offline; none where this is not Tine.
fn movable() -> Vec<usize> {
    let all = 1..nix::sched::CpuSet::count();
    let is_tine = Path::new("/proc/tine").exists();
    all.take_while(|cpu| is_tine && switch(*cpu).exists()).collect()
}

fn switch(cpu: usize) -> PathBuf {
    Path::new(CPUS).join(format!("cpu{cpu}/online"))
}

fn set_online(cpu: usize, online: bool) -> Outcome {
    let word = if online { "1" } else { "0" };
    fs::write(switch(cpu), word).with_context(|| format!("set processor {cpu} to {word}"))?;
    let said = fs::read_to_string(switch(cpu))?;
    ensure!(said.trim() == word, "set processor {cpu} to {word}, it says {said}");
    Ok(())
}

/// Threads that say where they run, over and over, until they are stopped.
#[derive(Default)]
struct Load {
    threads: Vec<Report>,
    stop: AtomicBool,
}

struct Report {
    cpu: AtomicUsize,
    count: AtomicU64,
}

impl Load {
    fn new(threads: usize) -> Self {
        let report = |_| Report { cpu: AtomicUsize::new(0), count: AtomicU64::new(0) };
        Self { threads: (0..threads).map(report).collect(), stop: AtomicBool::new(false) }
    }

    /// Each second thread sleeps now and then.
    fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        for (index, report) in self.threads.iter().enumerate() {
            scope.spawn(move || {
                while !self.stop.load(SeqCst) {
                    report.cpu.store(cpus::current(), SeqCst);
                    let count = report.count.fetch_add(1, SeqCst);
                    if index % 2 == 1 && count.is_multiple_of(500) {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    }

    /// Where each thread runs, as it says after it was asked: not in the report that may be on its way.
    fn places(&self) -> anyhow::Result<Vec<usize>> {
        let before: Vec<u64> = self.threads.iter().map(|report| report.count.load(SeqCst)).collect();
        for (report, before) in self.threads.iter().zip(before) {
            wait::until("a thread reports", || report.count.load(SeqCst) > before + 1)?;
        }
        Ok(self.threads.iter().map(|report| report.cpu.load(SeqCst)).collect())
    }

    /// Runs `body` beside the threads.
    fn beside(&self, body: impl FnOnce() -> Outcome) -> Outcome {
        thread::scope(|scope| {
            self.start(scope);
            let outcome = body();
            self.stop.store(true, SeqCst);
            outcome
        })
    }
}

fn threads_leave() -> Outcome {
    let movable = movable();
    let load = Load::new(3 * (movable.len() + 1));
    load.beside(|| {
        for cpu in movable.iter().cycle().take(3 * movable.len()) {
            set_online(*cpu, false)?;
            let places = load.places()?;
            ensure!(!places.contains(cpu), "processor {cpu} is offline, and a thread runs there: {places:?}");
            set_online(*cpu, true)?;
            wait::until("a thread runs where a processor is back", || {
                load.threads.iter().any(|report| report.cpu.load(SeqCst) == *cpu)
            })?;
        }
        Ok(())
    })
}

fn sets_agree() -> Outcome {
    let all = cpus::allowed()?;
    for cpu in movable() {
        set_online(cpu, false)?;
        let left: Vec<usize> = all.iter().copied().filter(|other| *other != cpu).collect();
        ensure!(cpus::allowed()? == left, "without {cpu}, {:?} are allowed", cpus::allowed()?);
        ensure!(read("offline")? == cpu.to_string(), "offline is {}", read("offline")?);
        let beside = thread::available_parallelism()?.get();
        ensure!(beside == left.len(), "{beside} processors are available, not {}", left.len());
        ensure!(cpus::pin_to(cpu).is_err(), "a thread may be sent to processor {cpu}, which is offline");
        set_online(cpu, true)?;
        ensure!(cpus::allowed()? == all && read("offline")?.is_empty(), "processor {cpu} is not back");
        cpus::pin_to(cpu)?;
        ensure!(cpus::current() == cpu, "sent to {cpu}, runs on {}", cpus::current());
        cpus::restrict(cpus::SELF, &all)?;
    }
    Ok(())
}

fn read(name: &str) -> anyhow::Result<String> {
    Ok(fs::read_to_string(Path::new(CPUS).join(name))?.trim().to_owned())
}

fn pinned_threads_go_on() -> Outcome {
    for cpu in movable() {
        let load = Load::new(2);
        thread::scope(|scope| {
            // Threads inherit where they may run.
            scope.spawn(|| cpus::pin_to(cpu).map(|()| load.start(scope)));
            let outcome = (|| {
                ensure!(load.places()?.iter().all(|place| *place == cpu), "not pinned to {cpu}");
                set_online(cpu, false)?;
                let places = load.places()?;
                ensure!(!places.contains(&cpu), "processor {cpu} is offline, a thread runs there");
                set_online(cpu, true)?;
                wait::until("pinned threads come back", || {
                    load.threads.iter().all(|report| report.cpu.load(SeqCst) == cpu)
                })
            })();
            load.stop.store(true, SeqCst);
            outcome
        })?;
    }
    Ok(())
}

fn leaves_its_own() -> Outcome {
    let all = cpus::allowed()?;
    for cpu in movable() {
        cpus::pin_to(cpu)?;
        set_online(cpu, false)?;
        ensure!(cpus::current() != cpu, "still on processor {cpu}, which is offline");
        set_online(cpu, true)?;
        cpus::restrict(cpus::SELF, &all)?;
    }
    Ok(())
}

fn sleepers_wake() -> Outcome {
    const SLEEP: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(2);
    for cpu in movable() {
        let asleep = AtomicBool::new(false);
        let slept = thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let pinned = cpus::pin_to(cpu);
                let begun = Instant::now();
                asleep.store(true, SeqCst);
                thread::sleep(SLEEP);
                pinned.map(|()| begun.elapsed())
            });
            wait::until("the sleeper begins", || asleep.load(SeqCst))?;
            set_online(cpu, false)?;
            let slept = sleeper.join().expect("no sleeper panics")?;
            set_online(cpu, true)?;
            anyhow::Ok(slept)
        })?;
        ensure!(slept >= SLEEP && slept < SLEEP + LATE, "slept {slept:?} instead of {SLEEP:?}");
    }
    Ok(())
}

/// Also unmaps memory all the time, so that each processor that is online must be told.
fn children_finish() -> Outcome {
    const CHILDREN: i32 = 150;
    let movable = movable();
    let stop = AtomicBool::new(movable.is_empty());
    thread::scope(|scope| {
        let changer = scope.spawn(|| {
            for cpu in movable.iter().cycle() {
                if stop.load(SeqCst) {
                    break;
                }
                set_online(*cpu, false)?;
                thread::yield_now();
                set_online(*cpu, true)?;
            }
            anyhow::Ok(())
        });
        let unmapper = scope.spawn(|| {
            let pages = Pages::private(4)?;
            while !stop.load(SeqCst) {
                pages.store(0, 1);
                pages.discard()?;
                ensure!(pages.load(0) == 0, "a page that was discarded has its old content");
            }
            anyhow::Ok(())
        });
        let outcome = (0..CHILDREN).try_for_each(|index| {
            let status = index % 100;
            Child::start(|| status)?.expect_exit(status)
        });
        stop.store(true, SeqCst);
        changer.join().expect("it does not panic")?;
        unmapper.join().expect("it does not panic")?;
        outcome
    })
}

fn one_is_enough() -> Outcome {
    let movable = movable();
    let load = Load::new(movable.len());
    load.beside(|| {
        movable.iter().try_for_each(|cpu| set_online(*cpu, false))?;
        ensure!(
            load.places()?.iter().all(|place| *place == 0),
            "a thread runs on a processor that is offline"
        );
        movable.iter().try_for_each(|cpu| set_online(*cpu, true))
    })
}

fn refuses() -> Outcome {
    if movable().is_empty() {
        return Ok(());
    }
    ensure!(!switch(0).exists(), "the first processor can be switched off");
    for word in ["2", "-1", "", "off"] {
        let refused = fs::write(switch(1), word).err().and_then(|error| error.raw_os_error());
        // An empty write is none.
        ensure!(refused == Some(libc::EINVAL) || word.is_empty(), "{word:?} gives {refused:?}");
    }
    ensure!(read("possible")? == read("online")?, "online is {}", read("online")?);
    Ok(())
}

//! A thread runs only where its affinity allows, from the moment when sched_setaffinity(2) returns.

use anyhow::ensure;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use std::io::{Read, Write};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, in_child};
use userland::cpus::{self, SELF};
use userland::program::own_path;
use userland::shared::Shared;
use userland::wait;

/// The word that makes this program exit with the number of processors that it may use.
const HOW_MANY: &str = "how-many";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(HOW_MANY) {
        return cpus::allowed().map_or(ExitCode::FAILURE, |cpus| ExitCode::from(cpus.len() as u8));
    }
    checks::run(
        "affinity_test",
        &[
            ("a thread that moves itself has moved when the call returns", moves_itself),
            ("a running thread is moved by another", moves_running),
            ("a sleeping thread wakes up where it was sent", moves_sleeping),
            ("a waiting thread runs where it was sent", moves_waiting),
            ("a process is moved by its parent", moves_process),
            ("threads stay in a set of several processors", stays_in_set),
            ("a thread gets its turn beside one that woke it and goes on", turns_beside_waker),
            ("the affinity is inherited by threads, children and programs", is_inherited),
            ("what was set is what is read", reads_back),
            ("a set without usable processors is EINVAL", refuses_useless_sets),
            ("a thread that does not exist is ESRCH", refuses_unknown_threads),
        ],
    )
}

fn moves_itself() -> Outcome {
    let cpus = cpus::allowed()?;
    for round in 0..500 {
        let cpu = cpus[round % cpus.len()];
        cpus::pin_to(cpu)?;
        ensure!(cpus::current() == cpu, "sent to {cpu}, runs on {}", cpus::current());
    }
    Ok(())
}

/// The waker does not give way while it waits for the other's turn: only a timer can end its own.
fn turns_beside_waker() -> Outcome {
    const TURNS: u64 = 20;
    cpus::pin_to(cpus::allowed()?[0])?;
    let turns = &AtomicU64::new(0);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            while turns.load(SeqCst) < TURNS {
                thread::park();
                turns.fetch_add(1, SeqCst);
            }
        });
        let outcome = (0..TURNS).try_for_each(|turn| {
            other.thread().unpark();
            wait::spinning_until("the thread that was woken gets its turn", || turns.load(SeqCst) > turn)
        });
        turns.store(TURNS, SeqCst);
        other.thread().unpark();
        outcome
    })
}

/// A thread or process that says where it runs, over and over.
#[derive(Default)]
struct Reporter {
    id: AtomicI32,
    cpu: AtomicUsize,
    reports: AtomicU64,
    stop: AtomicBool,
}

impl Reporter {
    fn run(&self) {
        self.id.store(gettid().as_raw(), SeqCst);
        while !self.stop.load(SeqCst) {
            self.cpu.store(cpus::current(), SeqCst);
            self.reports.fetch_add(1, SeqCst);
        }
    }

    fn id(&self) -> anyhow::Result<Pid> {
        wait::until("the reporter starts", || self.reports.load(SeqCst) != 0)?;
        Ok(Pid::from_raw(self.id.load(SeqCst)))
    }

    /// Sends it round all processors and believes what it reports afterwards: not the next report, which may be on its way,
    /// but the one after.
    fn send_round(&self, rounds: usize) -> Outcome {
        let id = self.id()?;
        for cpu in cpus::allowed()?.into_iter().cycle().take(rounds) {
            cpus::restrict(id, &[cpu])?;
            let seen = self.reports.load(SeqCst);
            wait::until("the reporter reports", || self.reports.load(SeqCst) > seen + 1)?;
            ensure!(self.cpu.load(SeqCst) == cpu, "sent to {cpu}, reports {}", self.cpu.load(SeqCst));
        }
        Ok(())
    }
}

fn moves_running() -> Outcome {
    let reporter = Reporter::default();
    thread::scope(|scope| {
        scope.spawn(|| reporter.run());
        let outcome = reporter.send_round(40);
        reporter.stop.store(true, SeqCst);
        outcome
    })
}

fn moves_process() -> Outcome {
    let reporter = &Shared::<Reporter>::new(1, |_| Reporter::default())?[0];
    let child = Child::start(|| {
        reporter.run();
        0
    })?;
    let outcome = reporter.send_round(40);
    reporter.stop.store(true, SeqCst);
    child.expect_exit(0)?;
    outcome
}

fn moves_sleeping() -> Outcome {
    let (mut reader, mut writer) = std::io::pipe()?;
    let id = AtomicI32::new(0);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| -> anyhow::Result<Vec<usize>> {
            id.store(gettid().as_raw(), SeqCst);
            let mut woke_on = Vec::new();
            while reader.read(&mut [0])? == 1 {
                woke_on.push(cpus::current());
            }
            Ok(woke_on)
        });
        wait::until("the sleeper starts", || id.load(SeqCst) != 0)?;
        let sent: Vec<usize> = cpus::allowed()?.into_iter().cycle().take(16).collect();
        for cpu in &sent {
            // Long enough for it to sleep; should it not, it moves while it runs.
            thread::sleep(Duration::from_millis(2));
            cpus::restrict(Pid::from_raw(id.load(SeqCst)), &[*cpu])?;
            writer.write_all(&[0])?;
        }
        drop(writer);
        let woke_on = sleeper.join().expect("no check panics")?;
        ensure!(
            woke_on.last() == sent.last() && woke_on.len() == sent.len(),
            "sent {sent:?}, woke on {woke_on:?}"
        );
        Ok(())
    })
}

/// While one thread occupies a processor, another one waits for it, and is sent elsewhere.
fn moves_waiting() -> Outcome {
    let cpus = cpus::allowed()?;
    let (first, last) = (cpus[0], cpus[cpus.len() - 1]);
    let reporter = Reporter::default();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let pinned = cpus::pin_to(first);
            while pinned.is_ok() && !stop.load(SeqCst) {
                std::hint::spin_loop();
            }
        });
        scope.spawn(|| reporter.run());
        let outcome = (|| {
            let id = reporter.id()?;
            cpus::pin_to(last)?;
            for _ in 0..5 {
                cpus::restrict(id, &[first])?;
                thread::yield_now();
                cpus::restrict(id, &[last])?;
                let seen = reporter.reports.load(SeqCst);
                wait::until("the reporter reports", || reporter.reports.load(SeqCst) > seen + 1)?;
                ensure!(reporter.cpu.load(SeqCst) == last, "reports {}", reporter.cpu.load(SeqCst));
            }
            Ok(())
        })();
        reporter.stop.store(true, SeqCst);
        stop.store(true, SeqCst);
        outcome
    })
}

fn stays_in_set() -> Outcome {
    let cpus = cpus::allowed()?;
    let set = &cpus[cpus.len() / 2..];
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2 * cpus.len())
            .map(|_| {
                scope.spawn(|| {
                    cpus::restrict(SELF, set)?;
                    for _ in 0..2_000 {
                        let here = cpus::current();
                        ensure!(set.contains(&here), "runs on {here}, outside of {set:?}");
                        thread::yield_now();
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no check panics"))
    })
}

fn is_inherited() -> Outcome {
    let last = cpus::allowed()?.pop().unwrap_or(0);
    cpus::pin_to(last)?;
    let inherited = || {
        let (allowed, here) = (cpus::allowed()?, cpus::current());
        ensure!(allowed == [last] && here == last, "may use {allowed:?}, runs on {here}, not on {last}");
        Ok(())
    };
    thread::scope(|scope| scope.spawn(inherited).join().expect("no check panics"))?;
    in_child(inherited)?;
    let status = Command::new(own_path()?).arg(HOW_MANY).status()?;
    ensure!(status.code() == Some(1), "a new program ends with {status} and not with 1");
    Ok(())
}

fn reads_back() -> Outcome {
    let all = cpus::allowed()?;
    for cpu in &all {
        cpus::pin_to(*cpu)?;
        ensure!(cpus::allowed()? == [*cpu], "set {cpu}, read {:?}", cpus::allowed()?);
    }
    // Processors that do not exist are left out.
    let everything: Vec<usize> = (0..CpuSet::count()).collect();
    cpus::restrict(SELF, &everything)?;
    ensure!(cpus::allowed()?.starts_with(&all[..1]), "set everything, read {:?}", cpus::allowed()?);
    ensure!(
        all.iter().all(|cpu| cpus::allowed().is_ok_and(|now| now.contains(cpu))),
        "a processor is missing"
    );
    Ok(())
}

fn refuses_useless_sets() -> Outcome {
    let before = cpus::allowed()?;
    let mut beyond = CpuSet::new();
    beyond.set(CpuSet::count() - 1)?;
    for set in [CpuSet::new(), beyond] {
        let result = sched_setaffinity(SELF, &set);
        ensure!(result == Err(Errno::EINVAL), "got {result:?}");
    }
    ensure!(cpus::allowed()? == before, "a refused call has changed something");
    let mut word = [0_u8; 64];
    // SAFETY: the buffer is larger than the size that is given, which is too small for any set.
    let length = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, 1_usize, word.as_mut_ptr()) };
    ensure!(length == -1 && Errno::last() == Errno::EINVAL, "a buffer of one byte was accepted");
    Ok(())
}

fn refuses_unknown_threads() -> Outcome {
    let unknown = Pid::from_raw(i32::MAX);
    let mut set = CpuSet::new();
    set.set(cpus::current())?;
    let result = sched_setaffinity(unknown, &set);
    ensure!(result == Err(Errno::ESRCH), "set: {result:?}");
    let result = nix::sched::sched_getaffinity(unknown);
    ensure!(result == Err(Errno::ESRCH), "get: {result:?}");
    Ok(())
}

//! Two hundred threads that compute, give way, sleep and wake each other get all their work done while the kernel's scheduling
//! policies are changed under them: each order and each balancer is put in force, over and over.
//!
//! Where the kernel's policies cannot be changed, as on Linux, the threads do the same work without.

use anyhow::{Context, ensure};
use serde::Serialize;
use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use userland::program;
use userland::results;
use userland::work::Chain;

const USAGE: &str = "hot_swap [--threads N] [--swaps N] [--rounds N] [--batch OPERATIONS]
  --threads N         threads, a quarter of each kind (200)
  --swaps N           changes of the policies, at least (120)
  --rounds N          what each thread does, at least (10)
  --batch OPERATIONS  what it computes in a round (100000)";
const POLICIES: [&str; 2] = ["/proc/tine/order", "/proc/tine/balancer"];
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Serialize)]
struct Record {
    program: &'static str,
    threads: usize,
    swaps: u64,
    /// Rounds that the slowest and the fastest thread did.
    fewest_rounds: u64,
    most_rounds: u64,
}

/// What all threads share.
struct Plan {
    rounds: u64,
    batch: u64,
    /// The policies have been changed often enough.
    done: AtomicBool,
}

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let threads: usize = options.value("--threads", 200)?;
        let swaps: u64 = options.value("--swaps", 120)?;
        let rounds: u64 = options.value("--rounds", 10)?;
        let batch: u64 = options.value("--batch", 100_000)?;
        options.finish()?;
        let plan = &Plan { rounds, batch, done: AtomicBool::new(false) };
        let progress: &Vec<AtomicU64> = &(0..threads).map(|_| AtomicU64::new(0)).collect();
        let swapped = thread::scope(|scope| {
            let mut started = Vec::new();
            let mut partner = None;
            for (index, progress) in progress.iter().enumerate() {
                let kind = kind(index, &mut partner)?;
                started.push(scope.spawn(move || work(index as u64, kind, plan, progress)));
            }
            // Should the number of threads be odd, nobody answers the last one: it finds the pipe closed.
            drop(partner);
            let swapped = swap(swaps);
            plan.done.store(true, SeqCst);
            for thread in started {
                thread.join().expect("no thread panics")?;
            }
            swapped
        })?;
        let done: Vec<u64> = progress.iter().map(|rounds| rounds.load(SeqCst)).collect();
        let (fewest, most) = (done.iter().min().copied(), done.iter().max().copied());
        let (fewest_rounds, most_rounds) = (fewest.unwrap_or(rounds), most.unwrap_or(rounds));
        ensure!(fewest_rounds >= rounds, "a thread did {fewest_rounds} of {rounds} rounds");
        results::publish(&Record {
            program: "hot_swap",
            threads,
            swaps: swapped,
            fewest_rounds,
            most_rounds,
        })?;
        println!("SUCCESS: all {threads} threads did their work");
        Ok(())
    })
}

/// What a thread does after it has computed.
enum Kind {
    GiveWay,
    Sleep,
    /// Sends a byte, and waits for the answer.
    Ask(PipeWriter, PipeReader),
    /// Waits for a byte, and sends one back.
    Answer(PipeReader, PipeWriter),
}

/// Of four threads in a row one gives way, one sleeps, and two talk to each other. `partner` is what is kept for the last.
fn kind(index: usize, partner: &mut Option<Kind>) -> anyhow::Result<Kind> {
    Ok(match index % 4 {
        0 => Kind::GiveWay,
        1 => Kind::Sleep,
        2 => {
            let (question, asks) = std::io::pipe()?;
            let (answer, answers) = std::io::pipe()?;
            *partner = Some(Kind::Answer(question, answers));
            Kind::Ask(asks, answer)
        }
        _ => partner.take().context("the thread before made the pipes")?,
    })
}

fn work(seed: u64, mut kind: Kind, plan: &Plan, progress: &AtomicU64) -> anyhow::Result<()> {
    let mut chain = Chain::new(seed);
    let mut rounds = 0;
    while rounds < plan.rounds || !plan.done.load(SeqCst) {
        chain.advance(plan.batch);
        rounds += 1;
        progress.store(rounds, SeqCst);
        match &mut kind {
            Kind::GiveWay => thread::yield_now(),
            Kind::Sleep => thread::sleep(PAUSE),
            Kind::Ask(ask, answer) => {
                // A partner that is not there, or has done its part, has closed its ends.
                if ask.write_all(&[0]).is_err() || answer.read(&mut [0])? == 0 {
                    kind = Kind::GiveWay;
                }
            }
            Kind::Answer(question, answer) => {
                if question.read(&mut [0])? == 0 || answer.write_all(&[0]).is_err() {
                    kind = Kind::GiveWay;
                }
            }
        }
    }
    ensure!(chain == Chain::new(seed).after(rounds * plan.batch), "thread {seed} computed something wrong");
    Ok(())
}

/// Changes the policies `count` times, and puts back those that were in force. Returns how often it did.
fn swap(count: u64) -> anyhow::Result<u64> {
    if count == 0 || POLICIES.iter().any(|path| !Path::new(path).exists()) {
        return Ok(0);
    }
    let mut swaps = 0;
    let before = POLICIES.map(names).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for path in POLICIES {
        let refused = fs::write(path, "no_such_policy").err().and_then(|error| error.raw_os_error());
        ensure!(refused == Some(libc::EINVAL), "{path} takes any name: {refused:?}");
    }
    for round in 0.. {
        for (path, (all, _)) in POLICIES.iter().zip(&before) {
            if swaps >= count {
                break;
            }
            let wanted = &all[round % all.len()];
            fs::write(path, wanted).with_context(|| format!("write {wanted} to {path}"))?;
            let (_, chosen) = names(path)?;
            ensure!(chosen == *wanted, "{path}: wrote {wanted}, found {chosen}");
            swaps += 1;
            thread::sleep(PAUSE);
        }
        if swaps >= count {
            break;
        }
    }
    for (path, (_, chosen)) in POLICIES.iter().zip(&before) {
        fs::write(path, chosen)?;
    }
    Ok(swaps)
}

/// All names in a file of choices, and the one in brackets.
fn names(path: &str) -> anyhow::Result<(Vec<String>, String)> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    let chosen = chosen.with_context(|| format!("{path} has no name in brackets: {text}"))?.to_owned();
    let all = text.split_whitespace().map(|word| word.trim_matches(['[', ']']).to_owned()).collect();
    Ok((all, chosen))
}

//! Groups of senders and receivers that pass messages over pipes, each sender to each receiver of its group: a workload of
//! many short sleeps and wake-ups, as hackbench (from the Linux kernel's `perf bench sched messaging`) made it known.

use anyhow::{Context, ensure};
use serde::Serialize;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::ExitCode;
use std::time::Instant;
use std::{panic, thread};
use userland::children::{Child, report};
use userland::program;
use userland::results;

const USAGE: &str = "message_storm [--groups N] [--pairs N] [--loops N] [--threads] [--verbose]
  --groups N  groups (4)
  --pairs N   senders, and as many receivers, in each group (5)
  --loops N   messages from each sender to each receiver (50)
  --threads   threads instead of processes
  --verbose   also print the time";
const MESSAGE: usize = 100;

#[derive(Serialize)]
struct Record {
    program: &'static str,
    groups: usize,
    pairs: usize,
    loops: usize,
    threads: bool,
    messages: usize,
    elapsed_ns: u64,
}

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let groups: usize = options.value("--groups", 4)?;
        let pairs: usize = options.value("--pairs", 5)?;
        let loops: usize = options.value("--loops", 50)?;
        let threads = options.flag("--threads");
        let verbose = options.flag("--verbose");
        options.finish()?;
        ensure!(pairs <= usize::from(u8::MAX), "at most {} pairs", u8::MAX);
        let started = Instant::now();
        if threads {
            in_threads(groups, pairs, loops)?;
        } else {
            in_processes(groups, pairs, loops)?;
        }
        let elapsed = started.elapsed();
        let messages = groups * pairs * pairs * loops;
        let elapsed_ns = elapsed.as_nanos() as u64;
        let program = "message_storm";
        results::publish(&Record { program, groups, pairs, loops, threads, messages, elapsed_ns })?;
        if verbose {
            println!("time: {elapsed:?}");
        }
        println!("SUCCESS: {messages} messages arrived");
        Ok(())
    })
}

/// Sends the number of the sender, over and over, to all receivers in turn.
fn send(number: u8, to: &[PipeWriter], loops: usize) -> anyhow::Result<()> {
    for _ in 0..loops {
        for mut pipe in to {
            pipe.write_all(&[number; MESSAGE]).context("send")?;
        }
    }
    Ok(())
}

/// Receives until all senders have closed the pipe, and checks that each one's messages are all there.
fn receive(mut from: PipeReader, pairs: usize, loops: usize) -> anyhow::Result<()> {
    let mut counts = vec![0; pairs];
    let mut message = [0; MESSAGE];
    for _ in 0..pairs * loops {
        from.read_exact(&mut message).context("receive")?;
        ensure!(message.iter().all(|byte| *byte == message[0]), "a message is mixed with another");
        *counts.get_mut(usize::from(message[0])).context("a message from nobody")? += 1;
    }
    ensure!(from.read(&mut message)? == 0, "there are more messages than were sent");
    ensure!(counts.iter().all(|count| *count == loops), "messages per sender: {counts:?}");
    Ok(())
}

fn in_processes(groups: usize, pairs: usize, loops: usize) -> anyhow::Result<()> {
    let mut children = Vec::new();
    for _ in 0..groups {
        let mut readers = Vec::new();
        let mut to = Vec::new();
        for _ in 0..pairs {
            let (reader, writer) = std::io::pipe()?;
            readers.push(reader);
            to.push(writer);
        }
        for index in 0..pairs {
            children.push(Child::start(|| {
                // The child's copies of the writing ends: while one is open, the pipe does not end.
                to.clear();
                report(receive(readers.swap_remove(index), pairs, loops))
            })?);
        }
        drop(readers);
        for number in 0..pairs {
            children.push(Child::start(|| report(send(number as u8, &to, loops)))?);
        }
    }
    children.into_iter().try_for_each(|child| child.expect_exit(0))
}

fn in_threads(groups: usize, pairs: usize, loops: usize) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let mut started = Vec::new();
        for _ in 0..groups {
            let mut to = Vec::new();
            for _ in 0..pairs {
                let (reader, writer) = std::io::pipe()?;
                to.push(writer);
                started.push(scope.spawn(move || receive(reader, pairs, loops)));
            }
            let to = std::sync::Arc::new(to);
            for number in 0..pairs {
                let to = to.clone();
                started.push(scope.spawn(move || send(number as u8, &to, loops)));
            }
        }
        started.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panicked) => panic::resume_unwind(panicked),
        })
    })
}

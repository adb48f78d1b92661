//! Watches a machine from its start to its end: collects what it writes, and ends it when it is silent or late.

use super::command::{COM1_FD, COM2_FD, TRACE_FD};
use super::config::Limits;
use super::input::Keyboard;
use crate::interrupt;
use crate::process::Contained;
use command_fds::{CommandFdExt, FdMapping};
use formats::record::Event;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How soon an interrupt by the user, or the end of QEMU, is noticed at the latest.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long to wait for the last words of a QEMU that has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It wrote nothing within [`Limits::boot`].
    Silent,
    /// It still ran after [`Limits::run`].
    TimedOut,
    /// The user wanted it to end.
    Interrupted,
    /// The user has left it, by a key.
    Left,
}

/// What was seen of a machine.
#[derive(Debug)]
pub struct Seen {
    pub ended: Ended,
    /// From the start of QEMU to its end.
    pub wall: Duration,
    /// COM1.
    pub console: String,
    /// COM2.
    pub events: Vec<Event>,
    /// Lines of COM2 that are no events, with the reason.
    pub garbled: Vec<String>,
    /// What QEMU itself said.
    pub complaints: String,
}

enum News {
    Console(Vec<u8>),
    Event(Vec<u8>),
    Complaint(Vec<u8>),
}

/// Starts `command`, which must be QEMU with its serial ports at [`COM1_FD`] and [`COM2_FD`]. `live` also copies the
/// console to standard output as it comes. `trace` becomes [`TRACE_FD`]. With a keyboard and its cable, somebody can type.
pub fn watch(
    command: Command,
    limits: &Limits,
    live: bool,
    trace: Option<File>,
    input: Option<(Keyboard, UnixStream)>,
) -> io::Result<Seen> {
    let started = Instant::now();
    let keyboard = input.as_ref().map(|(keyboard, _)| keyboard.clone());
    let (mut process, news) = start(command, trace, input)?;
    let mut seen = Notes { live, ..Notes::default() };
    let (boot, run) = (started + limits.boot(), started + limits.run());
    let ended = loop {
        match news.recv_timeout(PATIENCE) {
            Ok(news) => {
                seen.note(news);
                if let Some(keyboard) = &keyboard
                    && !seen.events.is_empty()
                {
                    keyboard.switch_on();
                }
            }
            Err(RecvTimeoutError::Disconnected) => match process.wait_until(run)? {
                Some(status) => break Ended::Exited(status),
                None => break Ended::TimedOut,
            },
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = process.wait_until(Instant::now())? {
                    seen.last_words(&news);
                    break Ended::Exited(status);
                }
            }
        }
        if interrupt::requested() {
            break Ended::Interrupted;
        }
        if keyboard.as_ref().is_some_and(Keyboard::wants_out) {
            break Ended::Left;
        }
        let now = Instant::now();
        if now >= run {
            break Ended::TimedOut;
        }
        if now >= boot && seen.is_silent() {
            break Ended::Silent;
        }
    };
    process.end()?;
    seen.last_words(&news);
    Ok(seen.finish(ended, started.elapsed()))
}

fn start(
    mut command: Command,
    trace: Option<File>,
    input: Option<(Keyboard, UnixStream)>,
) -> io::Result<(Contained, Receiver<News>)> {
    let (com1, com1_end): (Box<dyn Read + Send>, OwnedFd) = match input {
        Some((keyboard, cable)) => (Box::new(keyboard.screen()?), cable.into()),
        None => {
            let (ours, theirs) = io::pipe()?;
            (Box::new(ours), theirs.into())
        }
    };
    let (com2, com2_end) = io::pipe()?;
    let mut mappings = vec![
        FdMapping { parent_fd: com1_end, child_fd: COM1_FD },
        FdMapping { parent_fd: com2_end.into(), child_fd: COM2_FD },
    ];
    mappings.extend(trace.map(|file| FdMapping { parent_fd: file.into(), child_fd: TRACE_FD }));
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let mut process =
        Contained::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    // It holds our own ends for writing, which would keep the pipes open.
    drop(command);
    let (sender, news) = mpsc::channel();
    chunks(com1, News::Console, &sender);
    lines(com2, &sender);
    if let Some(stdout) = process.child().stdout.take() {
        chunks(stdout, News::Complaint, &sender);
    }
    if let Some(stderr) = process.child().stderr.take() {
        chunks(stderr, News::Complaint, &sender);
    }
    Ok((process, news))
}

fn chunks(mut from: impl Read + Send + 'static, kind: fn(Vec<u8>) -> News, to: &Sender<News>) {
    let to = to.clone();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.send(kind(buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

fn lines(from: impl Read + Send + 'static, to: &Sender<News>) {
    let to = to.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if to.send(News::Event(line)).is_err() {
                break;
            }
        }
    });
}

#[derive(Default)]
struct Notes {
    live: bool,
    console: Vec<u8>,
    complaints: Vec<u8>,
    events: Vec<Event>,
    garbled: Vec<String>,
}

impl Notes {
    fn is_silent(&self) -> bool {
        self.console.is_empty() && self.events.is_empty() && self.garbled.is_empty()
    }

    fn note(&mut self, news: News) {
        match news {
            News::Console(bytes) => {
                if self.live {
                    let mut stdout = io::stdout().lock();
                    // A closed terminal does not end the run: its record may still be wanted.
                    let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
                }
                self.console.extend(bytes);
            }
            News::Complaint(bytes) => self.complaints.extend(bytes),
            News::Event(line) if line.trim_ascii().is_empty() => {}
            News::Event(line) => match serde_json::from_slice(line.trim_ascii()) {
                Ok(event) => self.events.push(event),
                Err(error) => self.garbled.push(format!("{error}: {}", String::from_utf8_lossy(&line))),
            },
        }
    }

    /// Takes what is left in the pipes. Only a process that QEMU has left behind could keep them open.
    fn last_words(&mut self, news: &Receiver<News>) {
        let until = Instant::now() + LAST_WORDS;
        while let Ok(news) = news.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.note(news);
        }
    }

    fn finish(self, ended: Ended, wall: Duration) -> Seen {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\r', "");
        Seen {
            ended,
            wall,
            console: text(self.console),
            events: self.events,
            garbled: self.garbled,
            complaints: text(self.complaints),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake;
    use crate::process::tests::assert_gone;

    fn watched(script: &str, limits: Limits) -> Seen {
        let fake = fake::Qemu::new(script);
        watch(Command::new(fake.qemu().path), &limits, false, None, None).expect("the script starts")
    }

    const SHORT: Limits = Limits { boot_s: 1, run_s: 2 };

    #[test]
    fn each_channel_is_collected_to_its_end() {
        let seen = watched(
            r#"printf 'hello\r\nworld' >&3; echo '{"event":"exit","how":"exited","status":0}' >&4
               echo '{"event":"nonsense"}' >&4; echo complaint >&2; exit 33"#,
            Limits::default(),
        );
        assert_eq!(seen.console, "hello\nworld");
        assert!(matches!(seen.events[..], [Event::Exit(formats::record::Exit::Exited { status: 0 })]));
        assert_eq!(seen.garbled.len(), 1);
        assert_eq!(seen.complaints, "complaint\n");
        assert!(matches!(seen.ended, Ended::Exited(status) if status.code() == Some(33)));
    }

    #[test]
    fn a_machine_that_writes_nothing_is_ended_at_the_boot_limit() {
        let seen = watched("sleep 100", SHORT);
        assert_eq!(seen.ended, Ended::Silent);
        assert!(seen.wall < Duration::from_secs(50));
    }

    #[test]
    fn a_machine_that_does_not_end_is_ended_at_the_time_limit_and_leaves_no_process() {
        let seen = watched("sleep 100 & echo $$ $! >&3; wait", SHORT);
        assert_eq!(seen.ended, Ended::TimedOut);
        let processes: Vec<&str> = seen.console.split_whitespace().collect();
        assert_eq!(processes.len(), 2);
        processes.into_iter().for_each(assert_gone);
    }

    #[test]
    fn a_qemu_that_cannot_be_started_is_an_error() {
        assert!(watch(Command::new("/nonexistent/qemu"), &SHORT, false, None, None).is_err());
    }
}

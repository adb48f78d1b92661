//! epoll(7): levels and edges, one-shot and exclusive descriptors, polls in polls, what happens when files are closed.

use anyhow::ensure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{dup, pipe, read, write};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, report};

const IN: EpollFlags = EpollFlags::EPOLLIN;
const OUT: EpollFlags = EpollFlags::EPOLLOUT;
const EDGE: EpollFlags = EpollFlags::EPOLLET;

fn main() -> ExitCode {
    checks::run(
        "event_polls",
        &[
            ("a level-triggered descriptor is reported until it is read", level),
            ("an edge-triggered descriptor is reported once for each write", edge),
            ("a one-shot descriptor is reported once until it is set again", one_shot),
            ("what is wanted can be changed, and be nothing", modify),
            ("a hang-up is reported without being asked for", hang_up),
            ("waiting sleeps until something comes", sleeps),
            ("a deadline ends the wait", deadline),
            ("many ready descriptors are reported in turn", turns),
            ("a file leaves the poll with its last descriptor", closed),
            ("the same file may be there under two numbers", duplicated),
            ("a poll in a poll is ready when the inner one is", nested),
            ("polls cannot be put into each other in a circle", circle),
            ("poll(2) sees a ready event poll", polled),
            ("regular files and bad descriptors are refused", refused),
            ("exclusive descriptors follow their own rules", exclusive),
            ("a signal interrupts the wait", interrupted),
        ],
    )
}

fn new() -> anyhow::Result<Epoll> {
    Ok(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?)
}

/// What is ready now: data and flags, in order of data.
fn ready(poll: &Epoll) -> anyhow::Result<Vec<(u64, EpollFlags)>> {
    wait(poll, EpollTimeout::ZERO)
}

fn wait(poll: &Epoll, limit: EpollTimeout) -> anyhow::Result<Vec<(u64, EpollFlags)>> {
    let mut events = [EpollEvent::empty(); 64];
    let count = poll.wait(&mut events, limit)?;
    let mut found: Vec<_> = events[..count].iter().map(|event| (event.data(), event.events())).collect();
    found.sort_unstable_by_key(|(data, _)| *data);
    Ok(found)
}

fn level() -> Outcome {
    let poll = new()?;
    let (reader, writer) = pipe()?;
    poll.add(&reader, EpollEvent::new(IN, 7))?;
    ensure!(ready(&poll)?.is_empty(), "an empty pipe is ready");
    write(&writer, b"ab")?;
    for _ in 0..3 {
        ensure!(ready(&poll)? == [(7, IN)], "with data: {:?}", ready(&poll)?);
    }
    read(&reader, &mut [0; 8])?;
    ensure!(ready(&poll)?.is_empty(), "still ready after it was read");
    Ok(())
}

fn edge() -> Outcome {
    let poll = new()?;
    let (reader, writer) = pipe()?;
    write(&writer, b"a")?;
    poll.add(&reader, EpollEvent::new(IN | EDGE, 1))?;
    ensure!(ready(&poll)? == [(1, IN)], "what was there before is not reported");
    ensure!(ready(&poll)?.is_empty(), "reported twice");
    write(&writer, b"b")?;
    ensure!(ready(&poll)? == [(1, IN)], "a write to a pipe with data is no edge");
    read(&reader, &mut [0])?;
    ensure!(ready(&poll)?.is_empty(), "reading is an edge");
    Ok(())
}

fn one_shot() -> Outcome {
    let poll = new()?;
    let (reader, writer) = pipe()?;
    poll.add(&reader, EpollEvent::new(IN | EpollFlags::EPOLLONESHOT, 1))?;
    write(&writer, b"a")?;
    ensure!(ready(&poll)? == [(1, IN)], "not reported");
    write(&writer, b"b")?;
    ensure!(ready(&poll)?.is_empty(), "reported although it had fired");
    poll.modify(&reader, &mut EpollEvent::new(IN | EpollFlags::EPOLLONESHOT, 2))?;
    ensure!(ready(&poll)? == [(2, IN)], "not reported after it was set again");
    Ok(())
}

fn modify() -> Outcome {
    let poll = new()?;
    let (_reader, writer) = pipe()?;
    poll.add(&writer, EpollEvent::new(OUT, 1))?;
    ensure!(ready(&poll)? == [(1, OUT)], "an empty pipe cannot be written");
    poll.modify(&writer, &mut EpollEvent::new(EpollFlags::empty(), 1))?;
    ensure!(ready(&poll)?.is_empty(), "reported although nothing is wanted");
    poll.modify(&writer, &mut EpollEvent::new(OUT, 2))?;
    ensure!(ready(&poll)? == [(2, OUT)], "not reported with new data");
    poll.delete(&writer)?;
    ensure!(ready(&poll)?.is_empty(), "reported although it was taken out");
    ensure!(poll.delete(&writer) == Err(Errno::ENOENT), "taken out twice");
    let mut event = EpollEvent::new(OUT, 1);
    ensure!(poll.modify(&writer, &mut event) == Err(Errno::ENOENT), "changed after it was taken out");
    Ok(())
}

fn hang_up() -> Outcome {
    let poll = new()?;
    let (reader, writer) = pipe()?;
    poll.add(&reader, EpollEvent::new(EpollFlags::empty(), 1))?;
    ensure!(ready(&poll)?.is_empty(), "hung up while there is a writer");
    drop(writer);
    ensure!(ready(&poll)? == [(1, EpollFlags::EPOLLHUP)], "not hung up: {:?}", ready(&poll)?);
    Ok(())
}

fn sleeps() -> Outcome {
    let poll = new()?;
    let counter = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK)?;
    poll.add(&counter, EpollEvent::new(IN, 3))?;
    let other = counter.as_fd().try_clone_to_owned()?;
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        write(other, &1_u64.to_ne_bytes())
    });
    ensure!(wait(&poll, EpollTimeout::NONE)? == [(3, IN)], "not woken for the counter");
    thread.join().expect("the writer does not panic")?;
    Ok(())
}

fn deadline() -> Outcome {
    let poll = new()?;
    let (reader, _writer) = pipe()?;
    poll.add(&reader, EpollEvent::new(IN, 1))?;
    let begin = std::time::Instant::now();
    ensure!(wait(&poll, EpollTimeout::try_from(30)?)?.is_empty(), "something is ready");
    ensure!(begin.elapsed() >= Duration::from_millis(29), "too early: {:?}", begin.elapsed());
    Ok(())
}

fn turns() -> Outcome {
    let poll = new()?;
    let counters = (0..10).map(|_| EventFd::from_value(1)).collect::<Result<Vec<_>, _>>()?;
    for (number, counter) in counters.iter().enumerate() {
        poll.add(counter, EpollEvent::new(IN, number as u64))?;
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        let mut events = [EpollEvent::empty(); 2];
        let count = poll.wait(&mut events, EpollTimeout::ZERO)?;
        seen.extend(events[..count].iter().map(|event| event.data()));
    }
    seen.sort_unstable();
    ensure!(seen == (0..10).collect::<Vec<_>>(), "seen: {seen:?}");
    Ok(())
}

fn closed() -> Outcome {
    let poll = new()?;
    let (reader, writer) = pipe()?;
    write(&writer, b"a")?;
    poll.add(&reader, EpollEvent::new(IN, 1))?;
    let second = dup(&reader)?;
    drop(reader);
    ensure!(ready(&poll)? == [(1, IN)], "gone although a descriptor is open");
    drop(second);
    ensure!(ready(&poll)?.is_empty(), "there although it is closed");
    write(&writer, b"b").expect_err("nobody reads");
    Ok(())
}

fn duplicated() -> Outcome {
    let poll = new()?;
    let (reader, writer) = pipe()?;
    let second = dup(&reader)?;
    poll.add(&reader, EpollEvent::new(IN, 1))?;
    ensure!(poll.add(&reader, EpollEvent::new(IN, 1)) == Err(Errno::EEXIST), "added twice");
    poll.add(&second, EpollEvent::new(IN, 2))?;
    write(&writer, b"a")?;
    ensure!(ready(&poll)? == [(1, IN), (2, IN)], "reported: {:?}", ready(&poll)?);
    Ok(())
}

fn nested() -> Outcome {
    let (inner, outer) = (new()?, new()?);
    let (reader, writer) = pipe()?;
    inner.add(&reader, EpollEvent::new(IN, 1))?;
    outer.add(&inner.0, EpollEvent::new(IN, 2))?;
    ensure!(ready(&outer)?.is_empty(), "ready although the inner one is not");
    write(&writer, b"a")?;
    ensure!(ready(&outer)? == [(2, IN)], "not ready although the inner one is");
    read(&reader, &mut [0])?;
    ensure!(ready(&outer)?.is_empty(), "ready although the inner one no longer is");
    let child = Child::start(|| {
        thread::sleep(Duration::from_millis(20));
        report(write(&writer, b"b").map(drop).map_err(Into::into))
    })?;
    ensure!(wait(&outer, EpollTimeout::NONE)? == [(2, IN)], "not woken through the inner one");
    child.expect_exit(0)
}

fn circle() -> Outcome {
    let (first, second) = (new()?, new()?);
    first.add(&second.0, EpollEvent::new(IN, 1))?;
    ensure!(second.add(&first.0, EpollEvent::new(IN, 1)) == Err(Errno::ELOOP), "a circle of two");
    ensure!(first.add(&first.0, EpollEvent::new(IN, 1)) == Err(Errno::EINVAL), "itself");
    let chain = (0..7).map(|_| new()).collect::<Result<Vec<_>, _>>()?;
    let added: Vec<_> =
        chain.windows(2).map(|pair| pair[0].add(&pair[1].0, EpollEvent::new(IN, 1))).collect();
    ensure!(added.contains(&Err(Errno::ELOOP)), "seven in each other: {added:?}");
    Ok(())
}

fn polled() -> Outcome {
    let epoll = new()?;
    let (reader, writer) = pipe()?;
    epoll.add(&reader, EpollEvent::new(IN, 1))?;
    let now = || -> nix::Result<i32> {
        poll(&mut [PollFd::new(epoll.0.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)
    };
    ensure!(now()? == 0, "ready too early");
    write(&writer, b"a")?;
    ensure!(now()? == 1, "not ready");
    Ok(())
}

fn refused() -> Outcome {
    let poll = new()?;
    let file = File::open("/proc/self/exe")?;
    ensure!(poll.add(&file, EpollEvent::new(IN, 1)) == Err(Errno::EPERM), "a regular file");
    let (reader, _writer) = pipe()?;
    let control = |poll: i32, operation: i32, descriptor: i32| {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: the event lives across the call.
        Errno::result(unsafe { libc::epoll_ctl(poll, operation, descriptor, &mut event) })
    };
    let (epoll, pipe) = (poll.0.as_raw_fd(), reader.as_raw_fd());
    ensure!(control(epoll, libc::EPOLL_CTL_ADD, 999) == Err(Errno::EBADF), "a closed descriptor");
    ensure!(control(999, libc::EPOLL_CTL_ADD, pipe) == Err(Errno::EBADF), "a closed poll");
    ensure!(control(pipe, libc::EPOLL_CTL_ADD, epoll) == Err(Errno::EINVAL), "a pipe as a poll");
    ensure!(control(epoll, 77, pipe) == Err(Errno::EINVAL), "an unknown operation");
    let mut events = [EpollEvent::empty(); 1];
    // SAFETY: no event is written.
    let none = Errno::result(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr().cast(), 0, 0) });
    ensure!(none == Err(Errno::EINVAL), "no room for an event");
    // SAFETY: null is not written to, since nothing is ready.
    ensure!(unsafe { libc::epoll_create(0) } == -1, "a poll of size 0");
    Ok(())
}

fn exclusive() -> Outcome {
    let exclusive = EpollFlags::EPOLLEXCLUSIVE;
    let (first, second) = (new()?, new()?);
    let (reader, writer) = pipe()?;
    first.add(&reader, EpollEvent::new(IN | exclusive, 1))?;
    second.add(&reader, EpollEvent::new(IN | exclusive, 2))?;
    let mut event = EpollEvent::new(IN, 1);
    ensure!(first.modify(&reader, &mut event) == Err(Errno::EINVAL), "changed");
    let one_shot = IN | exclusive | EpollFlags::EPOLLONESHOT;
    ensure!(new()?.add(&reader, EpollEvent::new(one_shot, 1)) == Err(Errno::EINVAL), "one-shot");
    write(&writer, b"a")?;
    ensure!(ready(&first)?.len() + ready(&second)?.len() >= 1, "nobody was told");
    Ok(())
}

fn interrupted() -> Outcome {
    use nix::sys::signal::{SaFlags, Signal, kill};
    userland::signals::note(Signal::SIGUSR1, SaFlags::SA_RESTART)?;
    let poll = new()?;
    let (reader, _writer) = pipe()?;
    poll.add(&reader, EpollEvent::new(IN, 1))?;
    let parent = nix::unistd::getpid();
    let child = Child::start(|| {
        // Until the parent notices: it may not be asleep yet.
        loop {
            if kill(parent, Signal::SIGUSR1).is_err() {
                return 1;
            }
            thread::sleep(Duration::from_millis(10));
        }
    })?;
    let mut events = [EpollEvent::empty(); 1];
    ensure!(poll.wait(&mut events, EpollTimeout::NONE) == Err(Errno::EINTR), "not interrupted");
    drop(child);
    Ok(())
}

//! System V shared memory, semaphores and message queues.

use anyhow::ensure;
use nix::errno::Errno;
use std::mem::zeroed;
use std::process::ExitCode;
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::{Child, report};

fn main() -> ExitCode {
    checks::run(
        "sysv_ipc",
        &[
            ("memory is shared with children and found by its key", memory_is_shared),
            ("attachments are counted, also by fork and exit", attachments),
            ("a removed segment lives until it is detached", removed_segment),
            ("segments are attached where and how they are wanted", attach_options),
            ("bad requests for memory fail as on Linux", bad_memory),
            ("a semaphore lets one process in at a time", semaphore_excludes),
            ("operations are done all or none", all_or_none),
            ("waiting for zero and for more, and counts of who waits", waiting_counts),
            ("waiting has a limit, and none with IPC_NOWAIT", semaphore_limits),
            ("what a process did is undone when it ends", undone),
            ("removing a set ends the waits for it", removed_set),
            ("bad requests for semaphores fail as on Linux", bad_semaphores),
            ("messages come by kind and in order", messages_in_order),
            ("a full queue makes senders wait", full_queue),
            ("processes talk through queues", conversation),
            ("bad requests for messages fail as on Linux", bad_messages),
        ],
    )
}

/// A System V object that is removed when dropped.
enum Object {
    Memory(i32),
    Set(i32),
    Queue(i32),
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: no memory is involved in a removal.
        unsafe {
            match *self {
                Self::Memory(id) => libc::shmctl(id, libc::IPC_RMID, null_mut()),
                Self::Set(id) => libc::semctl(id, 0, libc::IPC_RMID),
                Self::Queue(id) => libc::msgctl(id, libc::IPC_RMID, null_mut()),
            };
        }
    }
}

impl Object {
    fn id(&self) -> i32 {
        match *self {
            Self::Memory(id) | Self::Set(id) | Self::Queue(id) => id,
        }
    }
}

const PAGE: usize = 4096;

fn key() -> i32 {
    0x7100_0000 | (std::process::id() & 0xff_ffff) as i32
}

fn segment(key: i32, size: usize, flags: i32) -> Result<i32, Errno> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::shmget(key, size, flags) })
}

fn private_segment(pages: usize) -> Result<Object, Errno> {
    segment(libc::IPC_PRIVATE, pages * PAGE, 0o600).map(Object::Memory)
}

fn attach(id: i32, at: usize, flags: i32) -> Result<*mut u8, Errno> {
    // SAFETY: the addresses that checks ask for are not in use, or are to be refused.
    let at = unsafe { libc::shmat(id, at as *const libc::c_void, flags) };
    if at as isize == -1 { Err(Errno::last()) } else { Ok(at.cast()) }
}

fn detach(at: *mut u8) -> Result<i32, Errno> {
    // SAFETY: the callers do not use it any more.
    Errno::result(unsafe { libc::shmdt(at.cast()) })
}

fn memory_status(id: i32) -> Result<libc::shmid_ds, Errno> {
    // SAFETY: all zeroes are a `shmid_ds`, which the call writes.
    unsafe {
        let mut status: libc::shmid_ds = zeroed();
        Errno::result(libc::shmctl(id, libc::IPC_STAT, &raw mut status))?;
        Ok(status)
    }
}

fn memory_is_shared() -> Outcome {
    let key = key();
    let object = Object::Memory(segment(key, 3 * PAGE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)?);
    ensure!(segment(key, PAGE, 0)? == object.id(), "the key leads to another segment");
    let again = segment(key, PAGE, libc::IPC_CREAT | libc::IPC_EXCL);
    ensure!(again == Err(Errno::EEXIST), "made twice: {again:?}");
    let at = attach(object.id(), 0, 0)?;
    // SAFETY: three pages are attached at each address.
    unsafe {
        ensure!(at.add(2 * PAGE).read_volatile() == 0, "new memory is not zero");
        at.write_volatile(1);
        let other = attach(object.id(), 0, 0)?;
        ensure!(other != at && other.read_volatile() == 1, "a second attachment shows other memory");
        detach(other)?;
        Child::start(move || {
            at.add(2 * PAGE).write_volatile(42);
            0
        })?
        .expect_exit(0)?;
        ensure!(at.add(2 * PAGE).read_volatile() == 42, "a child's write is not seen");
    }
    detach(at)?;
    ensure!(detach(at) == Err(Errno::EINVAL), "detached twice");
    Ok(())
}

fn attachments() -> Outcome {
    let object = private_segment(4)?;
    let status = memory_status(object.id())?;
    ensure!(status.shm_nattch == 0 && status.shm_segsz == 4 * PAGE, "new: {}", status.shm_nattch);
    ensure!(status.shm_perm.mode & 0o777 == 0o600, "mode {:o}", status.shm_perm.mode);
    ensure!(status.shm_cpid == std::process::id() as i32, "made by {}", status.shm_cpid);
    let first = attach(object.id(), 0, 0)?;
    let second = attach(object.id(), 0, libc::SHM_RDONLY)?;
    ensure!(memory_status(object.id())?.shm_nattch == 2, "attached twice, it says otherwise");
    let id = object.id();
    Child::start(move || {
        let count = memory_status(id).map(|status| status.shm_nattch);
        report(if count == Ok(4) { Ok(()) } else { Err(anyhow::anyhow!("in a child: {count:?}")) })
    })?
    .expect_exit(0)?;
    ensure!(memory_status(object.id())?.shm_nattch == 2, "after the child has ended");
    detach(first)?;
    detach(second)?;
    let status = memory_status(object.id())?;
    ensure!(status.shm_nattch == 0, "{} attachments are left", status.shm_nattch);
    ensure!(status.shm_atime > 0 && status.shm_dtime >= status.shm_atime, "times are not kept");
    Ok(())
}

fn removed_segment() -> Outcome {
    let key = key();
    let id = segment(key, PAGE, libc::IPC_CREAT | 0o600)?;
    let at = attach(id, 0, 0)?;
    drop(Object::Memory(id));
    ensure!(segment(key, PAGE, 0) == Err(Errno::ENOENT), "it is found by its key");
    let status = memory_status(id)?;
    ensure!(status.shm_perm.mode & 0o1000 != 0, "it does not say that it will go");
    // SAFETY: one page is attached.
    unsafe { at.write_volatile(7) };
    detach(at)?;
    ensure!(memory_status(id).err() == Some(Errno::EINVAL), "it is there after the last detachment");
    Ok(())
}

fn attach_options() -> Outcome {
    let object = private_segment(2)?;
    let id = object.id();
    let free = attach(id, 0, 0)?;
    detach(free)?;
    let place = free as usize;
    ensure!(attach(id, place, 0)? as usize == place, "it is not where it was wanted");
    ensure!(attach(id, place, 0) == Err(Errno::EINVAL), "attached over itself");
    ensure!(attach(id, place, libc::SHM_REMAP)? as usize == place, "SHM_REMAP is not there");
    detach(free)?;
    ensure!(attach(id, place + 8, 0) == Err(Errno::EINVAL), "at an odd address");
    ensure!(attach(id, place + 8, libc::SHM_RND)? as usize == place, "SHM_RND does not round");
    detach(free)?;
    let read_only = attach(id, 0, libc::SHM_RDONLY)? as usize;
    Child::start(move || {
        // SAFETY: it is mapped, but not for writing: the child is to be killed.
        unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            (read_only as *mut u8).write_volatile(1);
        }
        0
    })?
    .expect_killed(nix::sys::signal::Signal::SIGSEGV)
}

fn bad_memory() -> Outcome {
    ensure!(segment(libc::IPC_PRIVATE, 0, 0o600) == Err(Errno::EINVAL), "no bytes");
    ensure!(segment(key(), PAGE, 0) == Err(Errno::ENOENT), "no such key");
    let object = Object::Memory(segment(key(), PAGE, libc::IPC_CREAT | 0o600)?);
    ensure!(segment(key(), 2 * PAGE, 0) == Err(Errno::EINVAL), "larger than it is");
    ensure!(attach(99_999_999, 0, 0) == Err(Errno::EINVAL), "no such segment");
    ensure!(memory_status(-1).err() == Some(Errno::EINVAL), "segment -1");
    // SAFETY: no memory is involved.
    let unknown = Errno::result(unsafe { libc::shmctl(object.id(), 77, null_mut()) });
    ensure!(unknown == Err(Errno::EINVAL), "command 77: {unknown:?}");
    Ok(())
}

fn set(count: i32) -> Result<Object, Errno> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::semget(libc::IPC_PRIVATE, count, 0o600) }).map(Object::Set)
}

fn control(set: &Object, index: i32, command: i32, value: i32) -> Result<i32, Errno> {
    // SAFETY: these commands take a number.
    Errno::result(unsafe { libc::semctl(set.id(), index, command, value) })
}

fn value(set: &Object, index: i32) -> Result<i32, Errno> {
    control(set, index, libc::GETVAL, 0)
}

fn operate(set: i32, operations: &[(u16, i16, i32)], limit: Option<u64>) -> Result<i32, Errno> {
    let mut list: Vec<libc::sembuf> = operations
        .iter()
        .map(|&(sem_num, sem_op, flags)| libc::sembuf { sem_num, sem_op, sem_flg: flags as i16 })
        .collect();
    let limit = limit.map(|ms| libc::timespec { tv_sec: 0, tv_nsec: ms as i64 * 1_000_000 });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the list has as many operations as it says, and the limit is null or one `timespec`.
    Errno::result(unsafe { libc::syscall(libc::SYS_semtimedop, set, list.as_mut_ptr(), list.len(), limit) })
        .map(|done| done as i32)
}

fn semaphore_excludes() -> Outcome {
    let set = set(1)?;
    control(&set, 0, libc::SETVAL, 1)?;
    let memory = private_segment(1)?;
    let counter = attach(memory.id(), 0, 0)?.cast::<u32>();
    let id = set.id();
    let children: Vec<Child> = (0..4)
        .map(|_| {
            Child::start(move || {
                for _ in 0..500 {
                    if operate(id, &[(0, -1, 0)], None).is_err() {
                        return 1;
                    }
                    // SAFETY: one page is attached, and who has the semaphore is alone.
                    unsafe {
                        let before = counter.read_volatile();
                        if before % 50 == 0 {
                            thread::yield_now();
                        }
                        counter.write_volatile(before + 1);
                    }
                    if operate(id, &[(0, 1, 0)], None).is_err() {
                        return 2;
                    }
                }
                0
            })
        })
        .collect::<Result<_, _>>()?;
    children.into_iter().try_for_each(|child| child.expect_exit(0))?;
    // SAFETY: one page is attached.
    let count = unsafe { counter.read_volatile() };
    ensure!(count == 2000, "counted {count}");
    ensure!(value(&set, 0)? == 1, "the semaphore is {}", value(&set, 0)?);
    Ok(())
}

fn all_or_none() -> Outcome {
    let set = set(2)?;
    operate(set.id(), &[(0, 3, 0), (1, 1, 0)], None)?;
    let failed = operate(set.id(), &[(0, -2, 0), (1, -2, libc::IPC_NOWAIT)], None);
    ensure!(failed == Err(Errno::EAGAIN), "the second is too much: {failed:?}");
    ensure!((value(&set, 0)?, value(&set, 1)?) == (3, 1), "the first was done");
    operate(set.id(), &[(0, -3, 0), (0, 0, 0), (0, 5, 0), (1, -1, 0)], None)?;
    ensure!((value(&set, 0)?, value(&set, 1)?) == (5, 0), "in order: {}", value(&set, 0)?);
    let mut values = [9_u16; 2];
    // SAFETY: GETALL writes as many values as there are semaphores.
    Errno::result(unsafe { libc::semctl(set.id(), 0, libc::GETALL, values.as_mut_ptr()) })?;
    ensure!(values == [5, 0], "all values: {values:?}");
    values = [7, 8];
    // SAFETY: SETALL reads as many.
    Errno::result(unsafe { libc::semctl(set.id(), 0, libc::SETALL, values.as_ptr()) })?;
    ensure!((value(&set, 0)?, value(&set, 1)?) == (7, 8), "all were set");
    let pid = control(&set, 0, libc::GETPID, 0)?;
    ensure!(pid == std::process::id() as i32, "changed by {pid}");
    Ok(())
}

fn until(what: &str, state: impl Fn() -> Result<bool, Errno>) -> Outcome {
    let start = Instant::now();
    while !state()? {
        ensure!(start.elapsed() < Duration::from_secs(30), "waited 30 s: {what}");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn waiting_counts() -> Outcome {
    let set = set(1)?;
    control(&set, 0, libc::SETVAL, 1)?;
    let id = set.id();
    let zero = Child::start(move || i32::from(operate(id, &[(0, 0, 0)], None).is_err()))?;
    let more = Child::start(move || i32::from(operate(id, &[(0, -2, 0)], None).is_err()))?;
    until("one waits for zero", || Ok(control(&set, 0, libc::GETZCNT, 0)? == 1))?;
    until("one waits for more", || Ok(control(&set, 0, libc::GETNCNT, 0)? == 1))?;
    operate(id, &[(0, 1, 0)], None)?;
    more.expect_exit(0)?;
    zero.expect_exit(0)?;
    let waiting = (control(&set, 0, libc::GETZCNT, 0)?, control(&set, 0, libc::GETNCNT, 0)?);
    ensure!(waiting == (0, 0), "still waiting: {waiting:?}");
    Ok(())
}

fn semaphore_limits() -> Outcome {
    let set = set(1)?;
    let start = Instant::now();
    let waited = operate(set.id(), &[(0, -1, 0)], Some(20));
    ensure!(waited == Err(Errno::EAGAIN), "after 20 ms: {waited:?}");
    ensure!(start.elapsed() >= Duration::from_millis(20), "after {:?}", start.elapsed());
    let refused = operate(set.id(), &[(0, -1, libc::IPC_NOWAIT)], None);
    ensure!(refused == Err(Errno::EAGAIN), "IPC_NOWAIT: {refused:?}");
    let id = set.id();
    extern "C" fn nothing(_: i32) {}
    let child = Child::start(move || {
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as libc::sighandler_t) };
        i32::from(operate(id, &[(0, -1, 0)], None) != Err(Errno::EINTR))
    })?;
    until("the child waits", || Ok(control(&set, 0, libc::GETNCNT, 0)? == 1))?;
    child.signal(nix::sys::signal::Signal::SIGUSR1)?;
    child.expect_exit(0)
}

fn undone() -> Outcome {
    let set = set(2)?;
    control(&set, 0, libc::SETVAL, 5)?;
    let id = set.id();
    Child::start(move || {
        let undo = 0x1000;
        let done = operate(id, &[(0, -2, undo), (1, 4, undo), (0, -1, 0)], None);
        i32::from(done.is_err())
    })?
    .expect_exit(0)?;
    ensure!((value(&set, 0)?, value(&set, 1)?) == (4, 0), "{} and {}", value(&set, 0)?, value(&set, 1)?);
    Ok(())
}

fn removed_set() -> Outcome {
    let set = set(1)?;
    let id = set.id();
    let child = Child::start(move || i32::from(operate(id, &[(0, -1, 0)], None) != Err(Errno::EIDRM)))?;
    until("the child waits", || Ok(control(&set, 0, libc::GETNCNT, 0)? == 1))?;
    drop(set);
    child.expect_exit(0)?;
    let gone = operate(id, &[(0, 1, 0)], None);
    ensure!(gone == Err(Errno::EINVAL), "a set that is gone: {gone:?}");
    Ok(())
}

fn bad_semaphores() -> Outcome {
    ensure!(set(0).err() == Some(Errno::EINVAL), "no semaphores");
    ensure!(set(32_001).err() == Some(Errno::EINVAL), "too many semaphores");
    let set = set(2)?;
    let of = |operations: &[(u16, i16, i32)]| operate(set.id(), operations, None).err();
    ensure!(of(&[(2, 1, 0)]) == Some(Errno::EFBIG), "semaphore 2 of 2: {:?}", of(&[(2, 1, 0)]));
    ensure!(of(&[]) == Some(Errno::EINVAL), "no operations");
    ensure!(of(&[(0, 1, 0); 501]) == Some(Errno::E2BIG), "501 operations");
    ensure!(of(&[(0, 32_767, 0), (0, 1, 0)]) == Some(Errno::ERANGE), "too high a value");
    ensure!(value(&set, 0)? == 0, "a part was done");
    let high = control(&set, 0, libc::SETVAL, 32_768);
    ensure!(high == Err(Errno::ERANGE), "too high a value: {high:?}");
    ensure!(control(&set, 2, libc::GETVAL, 0) == Err(Errno::EINVAL), "semaphore 2 of 2");
    Ok(())
}

#[repr(C)]
struct Message {
    kind: i64,
    text: [u8; 64],
}

fn queue() -> Result<Object, Errno> {
    // SAFETY: no memory is involved.
    Errno::result(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) }).map(Object::Queue)
}

fn send(queue: i32, kind: i64, text: &[u8], flags: i32) -> Result<i32, Errno> {
    let mut message = Message { kind, text: [0; 64] };
    message.text[..text.len()].copy_from_slice(text);
    // SAFETY: the text is not longer than the message's.
    Errno::result(unsafe { libc::msgsnd(queue, (&raw const message).cast(), text.len(), flags) })
}

fn receive(queue: i32, kind: i64, most: usize, flags: i32) -> Result<(i64, Vec<u8>), Errno> {
    let mut message = Message { kind: 0, text: [0; 64] };
    // SAFETY: `most` is at most the length of the text.
    let length =
        Errno::result(unsafe { libc::msgrcv(queue, (&raw mut message).cast(), most.min(64), kind, flags) })?;
    Ok((message.kind, message.text[..length as usize].to_vec()))
}

fn messages_in_order() -> Outcome {
    const EXCEPT: i32 = 0o20_000;
    const NO_ERROR: i32 = 0o10_000;
    let queue = queue()?;
    let id = queue.id();
    for (kind, text) in [(3, "a"), (1, "b"), (3, "c"), (2, "d"), (5, "efgh")] {
        send(id, kind, text.as_bytes(), 0)?;
    }
    let next = |kind, flags| receive(id, kind, 64, flags).map(|(kind, text)| (kind, text[0] as char));
    ensure!(next(2, 0)? == (2, 'd'), "of kind 2");
    ensure!(next(-3, 0)? == (1, 'b'), "of the lowest kind up to 3");
    ensure!(next(3, EXCEPT)? == (5, 'e'), "of another kind than 3");
    ensure!(next(0, 0)? == (3, 'a'), "the first");
    ensure!(next(7, libc::IPC_NOWAIT) == Err(Errno::ENOMSG), "of kind 7");
    ensure!(next(0, 0)? == (3, 'c'), "the last");
    send(id, 1, b"long", 0)?;
    let long = receive(id, 0, 2, 0);
    ensure!(long == Err(Errno::E2BIG), "4 bytes into 2: {long:?}");
    let cut = receive(id, 0, 2, NO_ERROR)?;
    ensure!(cut == (1, b"lo".to_vec()), "cut: {cut:?}");
    send(id, 9, b"", 0)?;
    ensure!(receive(id, 0, 64, 0)? == (9, vec![]), "a message without text");
    Ok(())
}

fn queue_status(id: i32) -> Result<libc::msqid_ds, Errno> {
    // SAFETY: all zeroes are a `msqid_ds`, which the call writes.
    unsafe {
        let mut status: libc::msqid_ds = zeroed();
        Errno::result(libc::msgctl(id, libc::IPC_STAT, &raw mut status))?;
        Ok(status)
    }
}

fn full_queue() -> Outcome {
    let queue = queue()?;
    let id = queue.id();
    let mut sent = 0;
    while send(id, 1, &[7; 64], libc::IPC_NOWAIT).is_ok() {
        sent += 1;
        ensure!(sent <= 10_000, "it is never full");
    }
    let status = queue_status(id)?;
    ensure!(status.msg_qnum == sent, "{sent} were sent, {} are there", status.msg_qnum);
    ensure!(sent * 64 <= status.msg_qbytes, "{sent} messages in {} bytes", status.msg_qbytes);
    let child = Child::start(move || i32::from(send(id, 2, b"last", 0).is_err()))?;
    thread::sleep(Duration::from_millis(20));
    ensure!(!child.has_ended()?, "the sender did not wait");
    receive(id, 0, 64, 0)?;
    child.expect_exit(0)?;
    let status = queue_status(id)?;
    ensure!(status.msg_qnum == sent, "then {} are there", status.msg_qnum);
    ensure!(status.msg_lrpid == std::process::id() as i32, "received by {}", status.msg_lrpid);
    Ok(())
}

fn conversation() -> Outcome {
    let queue = queue()?;
    let id = queue.id();
    let child = Child::start(move || {
        for number in 0..200_u32 {
            match receive(id, 1, 64, 0) {
                Ok((1, text)) if text == number.to_ne_bytes() => {}
                _ => return 1,
            }
            if send(id, 2, &number.to_ne_bytes(), 0).is_err() {
                return 2;
            }
        }
        i32::from(receive(id, 1, 64, 0) != Err(Errno::EIDRM))
    })?;
    for number in 0..200_u32 {
        send(id, 1, &number.to_ne_bytes(), 0)?;
        let answer = receive(id, 2, 64, 0)?;
        ensure!(answer == (2, number.to_ne_bytes().to_vec()), "the answer to {number} is {answer:?}");
    }
    thread::sleep(Duration::from_millis(20));
    drop(queue);
    let ended = child.wait()?;
    // If the child had not waited yet, the queue was not there any more.
    let told = matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0 | 1));
    ensure!(told, "the child ended with {ended:?}");
    Ok(())
}

fn bad_messages() -> Outcome {
    let queue = queue()?;
    let id = queue.id();
    ensure!(send(id, 0, b"x", 0) == Err(Errno::EINVAL), "kind 0");
    ensure!(send(id, -4, b"x", 0) == Err(Errno::EINVAL), "kind -4");
    ensure!(send(99_999_999, 1, b"x", 0) == Err(Errno::EINVAL), "no such queue");
    let long = vec![0_u8; 8 + 8193];
    // SAFETY: the message is as long as it says; its kind is 0 or 1.
    let sent = Errno::result(unsafe {
        let mut long = long;
        long[0] = 1;
        libc::msgsnd(id, long.as_ptr().cast(), 8193, 0)
    });
    ensure!(sent == Err(Errno::EINVAL), "8193 bytes: {sent:?}");
    ensure!(receive(id, 0, 64, libc::IPC_NOWAIT) == Err(Errno::ENOMSG), "an empty queue");
    Ok(())
}

//! Local sockets (unix(7)): streams, datagrams, sequenced packets, names, what goes with messages, and how they end.

use anyhow::ensure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PassCred, PeerCredentials, SocketError};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType,
    UnixAddr, accept, bind, connect, getpeername, getsockname, getsockopt, listen, recv, recvmsg, send,
    sendmsg, sendto, setsockopt, shutdown, socket, socketpair,
};
use nix::unistd::{getpid, pipe, read, write};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use userland::checks::{self, Outcome};
use userland::children::{Child, report};

fn main() -> ExitCode {
    checks::run(
        "unix_sockets",
        &[
            ("a client and a server talk through a name in the file system", stream),
            ("names are taken, free again, and refused", names),
            ("abstract names need no file", abstract_names),
            ("a socket that is bound to nothing gets a name", automatic_name),
            ("connections wait in a queue that fills up", backlog),
            ("datagrams keep their bounds and say who sent them", datagrams),
            ("a connected datagram socket sends to its peer", connected_datagrams),
            ("sequenced packets keep their bounds and connect", seqpackets),
            ("descriptors go through a socket", descriptors),
            ("descriptors that nobody takes are closed", dropped_descriptors),
            ("credentials are those of the peer", credentials),
            ("shutting down one way leaves the other", shut_down),
            ("the end of one is the end of file of the other", closed),
            ("peeking leaves the bytes", peeking),
            ("MSG_WAITALL waits for all of them", wait_all),
            ("poll tells what a socket is ready for", polled),
            ("what cannot be is refused", refused),
            ("a full socket blocks, or says so", full),
            ("several messages go in one call", many_messages),
            ("threads and processes exchange many bytes", exchange),
        ],
    )
}

/// A path that is removed at the end.
struct Name(PathBuf);

impl Name {
    fn new(name: &str) -> Self {
        Self(PathBuf::from(format!("/tmp/unix_sockets.{}.{name}", getpid())))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn number<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn make(kind: SockType) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
}

fn couple(kind: SockType) -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::empty())
}

fn stream() -> Outcome {
    let name = Name::new("stream");
    let listener = UnixListener::bind(&name.0)?;
    let path = name.0.clone();
    let child = Child::start(move || {
        report((|| {
            let mut client = UnixStream::connect(&path)?;
            client.write_all(b"question")?;
            client.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            client.read_to_string(&mut answer)?;
            ensure!(answer == "QUESTION", "answered {answer:?}");
            Ok(())
        })())
    })?;
    let (mut server, from) = listener.accept()?;
    ensure!(from.is_unnamed(), "a client with a name");
    let mut text = String::new();
    server.read_to_string(&mut text)?;
    server.write_all(text.to_uppercase().as_bytes())?;
    ensure!(server.local_addr()?.as_pathname() == Some(&name.0), "{:?}", server.local_addr()?);
    drop(server);
    child.expect_exit(0)
}

fn names() -> Outcome {
    let name = Name::new("name");
    ensure!(number(UnixStream::connect(&name.0)) == Some(libc::ENOENT), "connected to nothing");
    let listener = UnixListener::bind(&name.0)?;
    ensure!(number(UnixListener::bind(&name.0)) == Some(libc::EADDRINUSE), "bound twice");
    drop(listener);
    ensure!(number(UnixStream::connect(&name.0)) == Some(libc::ECONNREFUSED), "connected to nobody");
    ensure!(number(UnixListener::bind(&name.0)) == Some(libc::EADDRINUSE), "bound to what is left");
    std::fs::remove_file(&name.0)?;
    drop(UnixListener::bind(&name.0)?);
    ensure!(number(UnixStream::connect("/proc/self/exe")) == Some(libc::ECONNREFUSED), "to a file");
    ensure!(number(std::fs::File::open(&name.0)) == Some(libc::ENXIO), "opened a socket's name");
    let datagrams = Name::new("datagrams");
    let _socket = UnixDatagram::bind(&datagrams.0)?;
    ensure!(number(UnixStream::connect(&datagrams.0)) == Some(libc::EPROTOTYPE), "of another kind");
    let long = format!("/tmp/{}", "n".repeat(110));
    ensure!(UnixListener::bind(long).is_err(), "a long name");
    Ok(())
}

fn abstract_name(name: &str) -> nix::Result<UnixAddr> {
    UnixAddr::new_abstract(format!("{name}.{}", getpid()).as_bytes())
}

fn abstract_names() -> Outcome {
    let address = abstract_name("abstract")?;
    let listener = make(SockType::Stream)?;
    bind(listener.as_raw_fd(), &address)?;
    listen(&listener, Backlog::new(1)?)?;
    let client = make(SockType::Stream)?;
    connect(client.as_raw_fd(), &address)?;
    // SAFETY: the descriptor has just been made.
    let server = unsafe { OwnedFd::from_raw_fd(accept(listener.as_raw_fd())?) };
    write(&client, b"x")?;
    ensure!(read(&server, &mut [0; 2])? == 1, "nothing came");
    let peer: UnixAddr = getpeername(client.as_raw_fd())?;
    ensure!(peer.as_abstract() == address.as_abstract(), "{peer:?}");
    drop(listener);
    let late = make(SockType::Stream)?;
    ensure!(connect(late.as_raw_fd(), &address) == Err(Errno::ECONNREFUSED), "a name that is gone");
    Ok(())
}

fn automatic_name() -> Outcome {
    let socket = make(SockType::Datagram)?;
    let unnamed: UnixAddr = getsockname(socket.as_raw_fd())?;
    ensure!(unnamed.path().is_none() && unnamed.as_abstract().is_none(), "{unnamed:?}");
    let family = libc::AF_UNIX as u16;
    // SAFETY: two bytes of an address, which is its family alone.
    Errno::result(unsafe { libc::bind(socket.as_raw_fd(), (&raw const family).cast(), 2) })?;
    let named: UnixAddr = getsockname(socket.as_raw_fd())?;
    ensure!(named.as_abstract().is_some_and(|name| name.len() == 5), "{named:?}");
    Ok(())
}

fn backlog() -> Outcome {
    let address = abstract_name("backlog")?;
    let listener = make(SockType::Stream)?;
    bind(listener.as_raw_fd(), &address)?;
    listen(&listener, Backlog::new(0)?)?;
    let client = || {
        let flags = SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(socket.as_raw_fd(), &address).map(|()| socket)
    };
    let first = client()?;
    ensure!(client().err() == Some(Errno::EAGAIN), "a queue of one takes two");
    write(&first, b"early")?;
    // SAFETY: the descriptor has just been made.
    let server = unsafe { OwnedFd::from_raw_fd(accept(listener.as_raw_fd())?) };
    ensure!(read(&server, &mut [0; 8])? == 5, "what came before accepting is lost");
    let waiting = client()?;
    drop(listener);
    ensure!(read(&waiting, &mut [0]) == Err(Errno::ECONNRESET), "not reset: {:?}", read(&waiting, &mut [0]));
    Ok(())
}

fn datagrams() -> Outcome {
    let (one, other) = (Name::new("one"), Name::new("other"));
    let (first, second) = (UnixDatagram::bind(&one.0)?, UnixDatagram::bind(&other.0)?);
    first.send_to(b"hello", &other.0)?;
    first.send_to(b"", &other.0)?;
    first.send_to(b"long message", &other.0)?;
    let mut buffer = [0; 5];
    let (count, from) = second.recv_from(&mut buffer)?;
    ensure!(&buffer[..count] == b"hello" && from.as_pathname() == Some(&one.0), "{from:?}");
    ensure!(second.recv_from(&mut buffer)?.0 == 0, "the empty one");
    ensure!(second.recv_from(&mut buffer)?.0 == 5, "the long one, cut");
    ensure!(number(first.send_to(b"x", "/tmp/nobody is here")) == Some(libc::ENOENT), "to nobody");
    let anonymous = UnixDatagram::unbound()?;
    anonymous.send_to(b"x", &other.0)?;
    ensure!(second.recv_from(&mut buffer)?.1.is_unnamed(), "a name for who has none");
    ensure!(number(anonymous.send(b"x")) == Some(libc::ENOTCONN), "sent without an address");
    drop(second);
    ensure!(number(first.send_to(b"x", &other.0)) == Some(libc::ECONNREFUSED), "to a closed socket");
    Ok(())
}

fn connected_datagrams() -> Outcome {
    let name = Name::new("server");
    let server = UnixDatagram::bind(&name.0)?;
    let client = UnixDatagram::unbound()?;
    client.connect(&name.0)?;
    client.send(b"one")?;
    client.send(b"two")?;
    let mut buffer = [0; 16];
    ensure!(server.recv(&mut buffer)? == 3 && server.recv(&mut buffer)? == 3, "bounds");
    ensure!(client.peer_addr()?.as_pathname() == Some(&name.0), "another peer");
    Ok(())
}

fn seqpackets() -> Outcome {
    let (first, second) = couple(SockType::SeqPacket)?;
    write(&first, b"one")?;
    write(&first, b"three")?;
    let mut buffer = [0; 4];
    ensure!(read(&second, &mut buffer)? == 3, "bounds");
    ensure!(read(&second, &mut buffer)? == 4, "cut");
    drop(first);
    ensure!(read(&second, &mut buffer)? == 0, "no end");
    let address = abstract_name("packets")?;
    let listener = make(SockType::SeqPacket)?;
    bind(listener.as_raw_fd(), &address)?;
    listen(&listener, Backlog::new(1)?)?;
    let client = make(SockType::SeqPacket)?;
    ensure!(send(client.as_raw_fd(), b"x", MsgFlags::empty()) == Err(Errno::ENOTCONN), "not connected");
    connect(client.as_raw_fd(), &address)?;
    ensure!(connect(client.as_raw_fd(), &address) == Err(Errno::EISCONN), "connected twice");
    Ok(())
}

fn send_with(socket: &OwnedFd, bytes: &[u8], files: &[i32]) -> nix::Result<usize> {
    let rights = [ControlMessage::ScmRights(files)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::empty(), None)
}

/// What came, with descriptors.
fn receive_with(socket: &OwnedFd, len: usize) -> anyhow::Result<(usize, Vec<OwnedFd>)> {
    let mut bytes = vec![0; len];
    let mut space = nix::cmsg_space!([i32; 8]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut files = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made them for us.
            files.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok((message.bytes, files))
}

fn descriptors() -> Outcome {
    let (first, second) = couple(SockType::Stream)?;
    let (reader, writer) = pipe()?;
    write(&first, b"before")?;
    send_with(&first, b"with", &[writer.as_raw_fd(), reader.as_raw_fd()])?;
    write(&first, b"after")?;
    drop((reader, writer));
    let (count, files) = receive_with(&second, 64)?;
    ensure!(count == 10 && files.len() == 2, "{count} bytes, {} descriptors", files.len());
    write(&files[0], b"through")?;
    ensure!(read(&files[1], &mut [0; 16])? == 7, "another pipe");
    let (count, files) = receive_with(&second, 64)?;
    ensure!(count == 5 && files.is_empty(), "{count} bytes after them");
    ensure!(send_with(&first, b"x", &[999]) == Err(Errno::EBADF), "a closed descriptor");
    Ok(())
}

fn dropped_descriptors() -> Outcome {
    let (first, second) = couple(SockType::Stream)?;
    let (reader, writer) = pipe()?;
    send_with(&first, b"x", &[writer.as_raw_fd()])?;
    drop(writer);
    ensure!(read(&second, &mut [0; 4])? == 1, "the byte");
    ensure!(read(&reader, &mut [0])? == 0, "the pipe still has a writer");
    let (reader, writer) = pipe()?;
    send_with(&first, b"x", &[writer.as_raw_fd()])?;
    drop(writer);
    drop((first, second));
    ensure!(read(&reader, &mut [0])? == 0, "it has one in a closed socket");
    Ok(())
}

fn credentials() -> Outcome {
    let (first, second) = couple(SockType::Stream)?;
    let peer = getsockopt(&first, PeerCredentials)?;
    ensure!((peer.pid(), peer.uid()) == (getpid().as_raw(), 0), "{peer:?}");
    setsockopt(&second, PassCred, &true)?;
    let child = Child::start(|| report(write(&first, b"x").map(drop).map_err(Into::into)))?;
    let mut bytes = [0; 4];
    let mut space = nix::cmsg_space!(libc::ucred);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(second.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let sender = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
        _ => None,
    });
    ensure!(sender == Some(child.pid().as_raw()), "sent by {sender:?}");
    child.expect_exit(0)
}

fn shut_down() -> Outcome {
    let (first, second) = couple(SockType::Stream)?;
    write(&first, b"last")?;
    shutdown(first.as_raw_fd(), Shutdown::Write)?;
    let quiet = MsgFlags::MSG_NOSIGNAL;
    ensure!(send(first.as_raw_fd(), b"x", quiet) == Err(Errno::EPIPE), "sent after the end");
    ensure!(read(&second, &mut [0; 8])? == 4 && read(&second, &mut [0; 8])? == 0, "no end");
    write(&second, b"back")?;
    ensure!(read(&first, &mut [0; 8])? == 4, "the other way");
    Ok(())
}

fn closed() -> Outcome {
    let (first, second) = couple(SockType::Stream)?;
    write(&first, b"x")?;
    drop(first);
    ensure!(read(&second, &mut [0; 4])? == 1 && read(&second, &mut [0; 4])? == 0, "no end of file");
    let quiet = MsgFlags::MSG_NOSIGNAL;
    ensure!(send(second.as_raw_fd(), b"x", quiet) == Err(Errno::EPIPE), "sent to nobody");
    let (first, second) = couple(SockType::Stream)?;
    write(&second, b"unread")?;
    drop(first);
    ensure!(read(&second, &mut [0; 4]) == Err(Errno::ECONNRESET), "unread bytes are lost without a word");
    ensure!(read(&second, &mut [0; 4])? == 0, "no end of file");
    ensure!(getsockopt(&second, SocketError)? == 0, "an error is left");
    Ok(())
}

fn peeking() -> Outcome {
    let (first, second) = couple(SockType::Stream)?;
    write(&first, b"abc")?;
    write(&first, b"def")?;
    let mut bytes = [0; 8];
    ensure!(recv(second.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK)? == 6, "not all");
    ensure!(read(&second, &mut bytes)? == 6, "gone");
    let (first, second) = couple(SockType::Datagram)?;
    write(&first, b"datagram")?;
    let (peek, full) = (MsgFlags::MSG_PEEK, MsgFlags::MSG_TRUNC);
    ensure!(recv(second.as_raw_fd(), &mut bytes[..2], peek | full)? == 8, "not the full length");
    ensure!(read(&second, &mut bytes)? == 8, "gone");
    Ok(())
}

fn wait_all() -> Outcome {
    let (first, second) = couple(SockType::Stream)?;
    let child = Child::start(|| {
        for byte in b"in pieces" {
            thread::sleep(Duration::from_millis(2));
            if write(&first, &[*byte]).is_err() {
                return 1;
            }
        }
        0
    })?;
    let mut bytes = [0; 9];
    ensure!(recv(second.as_raw_fd(), &mut bytes, MsgFlags::MSG_WAITALL)? == 9, "too few");
    ensure!(&bytes == b"in pieces", "{bytes:?}");
    child.expect_exit(0)
}

fn ready(file: &impl AsFd) -> anyhow::Result<PollFlags> {
    let all = PollFlags::POLLIN | PollFlags::POLLOUT;
    let mut files = [PollFd::new(file.as_fd(), all)];
    poll(&mut files, PollTimeout::ZERO)?;
    Ok(files[0].revents().unwrap_or(PollFlags::empty()))
}

fn polled() -> Outcome {
    let (reads, writes) = (PollFlags::POLLIN, PollFlags::POLLOUT);
    let (first, second) = couple(SockType::Stream)?;
    ensure!(ready(&first)? == writes, "new: {:?}", ready(&first)?);
    write(&second, b"x")?;
    ensure!(ready(&first)? == reads | writes, "with a byte: {:?}", ready(&first)?);
    shutdown(second.as_raw_fd(), Shutdown::Write)?;
    let half = reads | writes;
    ensure!(ready(&first)? == half, "half closed: {:?}", ready(&first)?);
    drop(second);
    ensure!(ready(&first)?.contains(PollFlags::POLLHUP | half), "closed: {:?}", ready(&first)?);
    let name = Name::new("poll");
    let listener = UnixListener::bind(&name.0)?;
    ensure!(ready(&listener)?.is_empty(), "a connection: {:?}", ready(&listener)?);
    let _client = UnixStream::connect(&name.0)?;
    ensure!(ready(&listener)? == reads, "no connection: {:?}", ready(&listener)?);
    Ok(())
}

fn refused() -> Outcome {
    let (reader, _writer) = pipe()?;
    ensure!(listen(&reader, Backlog::new(1)?) == Err(Errno::ENOTSOCK), "a pipe listens");
    let stream = make(SockType::Stream)?;
    ensure!(listen(&stream, Backlog::new(1)?) == Err(Errno::EINVAL), "without a name");
    ensure!(accept(stream.as_raw_fd()) == Err(Errno::EINVAL), "accepted without listening");
    ensure!(read(&stream, &mut [0]) == Err(Errno::EINVAL), "read without a peer");
    let quiet = MsgFlags::MSG_NOSIGNAL;
    ensure!(send(stream.as_raw_fd(), b"x", quiet) == Err(Errno::ENOTCONN), "sent without a peer");
    let nobody: nix::Result<UnixAddr> = getpeername(stream.as_raw_fd());
    ensure!(nobody == Err(Errno::ENOTCONN), "a peer");
    let datagram = make(SockType::Datagram)?;
    ensure!(listen(&datagram, Backlog::new(1)?) == Err(Errno::EOPNOTSUPP), "datagrams listen");
    let (first, _second) = couple(SockType::Stream)?;
    let somewhere = abstract_name("nobody")?;
    ensure!(sendto(first.as_raw_fd(), b"x", &somewhere, quiet) == Err(Errno::EISCONN), "elsewhere");
    // SAFETY: takes three numbers.
    let family = Errno::result(unsafe { libc::socket(99, libc::SOCK_STREAM, 0) });
    ensure!(family == Err(Errno::EAFNOSUPPORT), "an unknown family");
    Ok(())
}

fn full() -> Outcome {
    let (first, second) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_NONBLOCK)?;
    let mut sent = 0;
    loop {
        match write(&first, &[0; 4096]) {
            Ok(count) => sent += count,
            Err(Errno::EAGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(sent >= 65_536, "full after {sent} bytes");
    ensure!(!ready(&first)?.contains(PollFlags::POLLOUT), "ready for more");
    while read(&second, &mut [0; 65_536]).is_ok() {}
    ensure!(ready(&first)?.contains(PollFlags::POLLOUT), "not ready although it is empty");
    let (first, _second) = couple(SockType::Datagram)?;
    let huge = vec![0; 10_000_000];
    ensure!(write(&first, &huge) == Err(Errno::EMSGSIZE), "a message of 10 MB");
    Ok(())
}

fn many_messages() -> Outcome {
    let (first, second) = couple(SockType::Datagram)?;
    let mut texts = [*b"one", *b"two", *b"six"];
    let mut vectors: Vec<libc::iovec> =
        texts.iter_mut().map(|text| libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: 3 }).collect();
    // SAFETY: all zeroes is an empty header.
    let mut headers: Vec<libc::mmsghdr> = (0..3).map(|_| unsafe { std::mem::zeroed() }).collect();
    for (header, vector) in headers.iter_mut().zip(&mut vectors) {
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the headers, vectors and texts live across both calls.
    let (sent, received) = unsafe {
        (
            Errno::result(libc::sendmmsg(first.as_raw_fd(), headers.as_mut_ptr(), 3, 0))?,
            Errno::result(libc::recvmmsg(
                second.as_raw_fd(),
                headers.as_mut_ptr(),
                3,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            ))?,
        )
    };
    ensure!((sent, received) == (3, 3), "{sent} sent, {received} received");
    ensure!(headers.iter().all(|header| header.msg_len == 3), "lengths");
    Ok(())
}

fn exchange() -> Outcome {
    const BYTES: usize = 3_000_000;
    let (mut first, mut second) = UnixStream::pair()?;
    let child = Child::start(move || {
        report((|| {
            let block: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
            first.write_all(&block)?;
            let mut answer = [0; 4];
            first.read_exact(&mut answer)?;
            ensure!(&answer == b"done", "{answer:?}");
            Ok(())
        })())
    })?;
    let mut block = vec![0; BYTES];
    second.read_exact(&mut block)?;
    ensure!(block.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "other bytes");
    second.write_all(b"done")?;
    child.expect_exit(0)
}

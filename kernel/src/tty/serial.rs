//! COM1 as a terminal: from its receive interrupt to the terminal's input.
//!
//! The interrupt handler moves bytes from the port to a ring and asks for another look; [`run_due`] takes them from there,
//! on the way back to user mode or in the idle loop. When nobody reads and all buffers are full, the port interrupts no
//! more and its sender has to wait: nothing is lost.
//!
//! What arrives is framed, since a host has more to say than bytes: the window's size, and that the input has ended. A DLE
//! (0x10) announces something else: see `formats::terminal`.

use super::termios::{Termios, WindowSize};
use super::{Stream, Tty};
use crate::cpus;
use crate::fs::DeviceId;
use crate::lock::{Lock, rank};
use crate::task::Process;
use alloc::sync::Arc;
use arch::serial::Receiver;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::*};
use formats::terminal::{Decoder, Item};
use smallvec::SmallVec;
use spin::Once;

/// Where the first program's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nowhere: reading finds the end of the file.
    Off,
    /// Somebody types.
    Terminal,
    /// A pipe or a file.
    Stream,
}

impl Input {
    pub const ALL: [(&str, Self); 3] =
        [("off", Self::Off), ("terminal", Self::Terminal), ("stream", Self::Stream)];
}

struct Console {
    tty: Arc<Tty>,
    input: Input,
}

static CONSOLE: Once<Console> = Once::new();
static RECEIVER: Once<Receiver> = Once::new();

/// The device number of `ttyS0`.
pub const DEVICE: DeviceId = DeviceId::new(4, 64);

fn console() -> &'static Console {
    CONSOLE.get().expect("serial::init runs before the first process")
}

/// Makes the terminal. Called once, before the first process; `receiver` is the port's, if it is to be listened to.
pub fn init(input: Input, receiver: Option<Receiver>) {
    let termios = if input == Input::Terminal { Termios::COOKED } else { Termios::OUTPUT_ONLY };
    let tty = Tty::new(DEVICE, super::Port::Serial, termios);
    tty.state.lock().is_mute = input != Input::Terminal;
    if input == Input::Stream {
        // Made now, so that it counts as in use before the run.
        Stream::get();
    }
    CONSOLE.call_once(|| Console { tty: Arc::new(tty), input });
    if let Some(receiver) = receiver {
        RECEIVER.call_once(|| receiver).set_interrupts(true);
    }
}

/// The terminal on COM1.
pub fn tty() -> Arc<Tty> {
    console().tty.clone()
}

pub fn is_console(tty: &Arc<Tty>) -> bool {
    Arc::ptr_eq(tty, &console().tty)
}

pub fn input() -> Input {
    console().input
}

/// The first process leads the session that the console belongs to.
pub fn give_to(first: &Arc<Process>) {
    console().tty.adopt_if_free(first);
}

/// Forgets what was typed and not read, when the run is over.
pub fn close() {
    if input() == Input::Stream {
        Stream::get().discard();
    }
}

/// Bytes between the interrupt and [`run_due`]. One writes, the handler, and one reads, who holds [`BUSY`].
static RING: [AtomicU8; RING_SIZE] = [const { AtomicU8::new(0) }; RING_SIZE];
const RING_SIZE: usize = 1024;
/// How many bytes were ever put in, and taken out.
static PUT: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The ring was full, and the port does not interrupt.
static PAUSED: AtomicBool = AtomicBool::new(false);
/// There is something to be done.
static DUE: AtomicBool = AtomicBool::new(false);
static BUSY: AtomicBool = AtomicBool::new(false);

/// The port has interrupted the boot CPU. Interrupts are off.
pub fn interrupt() {
    let Some(receiver) = RECEIVER.get() else { return };
    loop {
        let put = PUT.load(Relaxed);
        if put.wrapping_sub(TAKEN.load(Acquire)) == RING_SIZE {
            receiver.set_interrupts(false);
            PAUSED.store(true, SeqCst);
            break;
        }
        let Some(byte) = receiver.take() else { break };
        RING[put % RING_SIZE].store(byte, Relaxed);
        PUT.store(put.wrapping_add(1), Release);
    }
    DUE.store(true, SeqCst);
    cpus::request_reschedule();
}

/// Whether bytes wait for [`run_due`].
pub fn is_due() -> bool {
    DUE.load(Relaxed)
}

/// A reader has made room.
pub fn go_on() {
    if PUT.load(Relaxed) != TAKEN.load(Relaxed) {
        DUE.store(true, SeqCst);
        run_due();
    }
}

/// Passes on what the port has delivered. Called with no lock held.
pub fn run_due() {
    // Whoever is busy looks again when it is done.
    while DUE.load(SeqCst) && !BUSY.swap(true, SeqCst) {
        DUE.store(false, SeqCst);
        while pass_on() {}
        BUSY.store(false, SeqCst);
    }
}

/// How far an announcement has come.
static DECODER: Lock<Decoder, { rank::FILE }> = Lock::new(Decoder::new());

/// Passes some of it on. False when there is nothing more, or no room for it.
fn pass_on() -> bool {
    const BATCH: usize = 128;
    let room = BATCH.min(match input() {
        Input::Terminal => console().tty.room(),
        Input::Stream => Stream::get().room(),
        Input::Off => BATCH,
    });
    let mut bytes = SmallVec::<[u8; BATCH]>::new();
    let mut announced = None;
    {
        let mut decoder = DECODER.lock();
        while bytes.len() < room && announced.is_none() {
            let Some(byte) = take() else { break };
            match decoder.decode(byte) {
                Some(Item::Byte(byte)) => bytes.push(byte),
                other => announced = other,
            }
        }
    }
    if PAUSED.swap(false, SeqCst)
        && let Some(receiver) = RECEIVER.get()
    {
        receiver.set_interrupts(true);
    }
    match input() {
        Input::Terminal => {
            console().tty.receive(&bytes);
        }
        Input::Stream => Stream::get().receive(&bytes),
        Input::Off => {}
    }
    match announced {
        Some(Item::Size { rows, columns }) => {
            console().tty.resize(WindowSize { rows, columns, ..WindowSize::default() });
        }
        Some(Item::End) if input() == Input::Stream => Stream::get().end(),
        Some(Item::End) => console().tty.hang_up(),
        _ => {}
    }
    !bytes.is_empty() || announced.is_some()
}

/// The next byte of the ring.
fn take() -> Option<u8> {
    let taken = TAKEN.load(Relaxed);
    if PUT.load(Acquire) == taken {
        return None;
    }
    let byte = RING[taken % RING_SIZE].load(Relaxed);
    TAKEN.store(taken.wrapping_add(1), Release);
    Some(byte)
}

//! What is known about one signal: `siginfo_t` (man 2 sigaction).

use super::{Signal, number::SigSet};
use crate::errno::Errno;
use core::mem::size_of;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const PAYLOAD: usize = linux::SI_MAX_SIZE as usize - 2 * size_of::<u64>();

/// `siginfo_t`, exactly as programs see it.
#[derive(Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct SigInfo {
    pub(super) signal: i32,
    pub(super) error: i32,
    pub(super) code: i32,
    pad: i32,
    pub(super) payload: [u8; PAYLOAD],
}

const _: () = assert!(size_of::<SigInfo>() == linux::SI_MAX_SIZE as usize);

/// The sender: `si_pid` and `si_uid`. Everybody is root.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Sender {
    pid: u32,
    uid: u32,
}

/// The fields of SIGCHLD; times are in ticks of 10 ms (`USER_HZ`).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Child {
    pid: u32,
    uid: u32,
    status: i32,
    pad: u32,
    user_time: i64,
    system_time: i64,
}

/// The fields of a timer's signal: `si_timerid`, `si_overrun` and `si_value`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct TimerFields {
    id: i32,
    overrun: i32,
    value: u64,
}

impl SigInfo {
    fn new(signal: Signal, code: i32, fields: &impl FieldBytes) -> Self {
        let mut payload = [0; PAYLOAD];
        let fields = fields.bytes();
        payload[..fields.len()].copy_from_slice(fields);
        Self { signal: i32::from(signal.number()), error: 0, code, pad: 0, payload }
    }

    /// From the kernel itself, with nothing more to say.
    pub fn from_kernel(signal: Signal) -> Self {
        Self::new(signal, linux::SI_KERNEL as i32, &())
    }

    /// From `kill` by process `sender`.
    pub fn from_process(signal: Signal, sender: u32) -> Self {
        Self::new(signal, linux::SI_USER as i32, &Sender { pid: sender, uid: 0 })
    }

    /// From `tkill` or `tgkill` by a thread of process `sender`.
    pub fn from_thread(signal: Signal, sender: u32) -> Self {
        Self::new(signal, linux::SI_TKILL, &Sender { pid: sender, uid: 0 })
    }

    /// A fault of the thread itself: `code` says which kind, `address` where (`si_addr`).
    pub fn fault(signal: Signal, code: u32, address: u64) -> Self {
        Self::new(signal, code as i32, &address)
    }

    /// A child whose state has changed; `code` is one of `CLD_*`, `ticks` its CPU time.
    pub fn child(signal: Signal, code: u32, pid: u32, status: i32, ticks: i64) -> Self {
        let child = Child { pid, uid: 0, status, pad: 0, user_time: ticks, system_time: 0 };
        Self::new(signal, code as i32, &child)
    }

    /// Of timer `id`, with the value that its maker has given it.
    pub fn timer(signal: Signal, id: i32, value: u64) -> Self {
        Self::new(signal, linux::SI_TIMER, &TimerFields { id, overrun: 0, value })
    }

    /// Which timer has sent it, if one has.
    pub fn timer_id(&self) -> Option<i32> {
        let (fields, _) = TimerFields::read_from_prefix(&self.payload).ok()?;
        (self.code == linux::SI_TIMER).then_some(fields.id)
    }

    /// Says how often its timer has expired in addition.
    pub fn set_overrun(&mut self, overrun: i32) {
        self.payload[size_of::<i32>()..][..size_of::<i32>()].copy_from_slice(&overrun.to_ne_bytes());
    }

    /// `si_code`.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// As `rt_sigqueueinfo` hands it in: the program's own, but for the signal number.
    ///
    /// # Errors
    /// `EPERM` for codes that only the kernel may use, unless the program sends it to itself.
    pub fn sent_by_program(mut self, signal: Signal, to_itself: bool) -> Result<Self, Errno> {
        let reserved = self.code >= 0 || self.code == linux::SI_TKILL;
        if reserved && !to_itself {
            return Err(Errno::EPERM);
        }
        self.signal = i32::from(signal.number());
        Ok(self)
    }

    /// Whether `kill` sent it.
    pub(super) fn is_from_kill(&self) -> bool {
        self.code == linux::SI_USER as i32
    }

    /// Whether it is of a kind that no program can make up for another.
    pub(super) fn is_from_kernel_or_kill(&self) -> bool {
        self.code >= 0
    }

    /// The signal that this is about.
    pub fn signal(&self) -> Signal {
        Signal::new(self.signal as u32).expect("each constructor takes a signal")
    }

    /// Whether it is about a signal of `set`.
    pub fn is_in(&self, set: SigSet) -> bool {
        set.contains(self.signal())
    }
}

/// Fields that follow the head of a siginfo.
trait FieldBytes {
    fn bytes(&self) -> &[u8];
}

impl<T: IntoBytes + Immutable> FieldBytes for T {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

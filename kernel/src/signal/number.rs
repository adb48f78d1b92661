//! Signal numbers, sets of them, and what each does by default (man 7 signal).

use crate::errno::Errno;
use core::fmt;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A signal, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $linux:ident)*) => {
        impl Signal {
            $(pub const $name: Self = Self(linux::$linux as u8);)*

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($linux)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    HUP = SIGHUP INT = SIGINT QUIT = SIGQUIT ILL = SIGILL TRAP = SIGTRAP ABRT = SIGABRT BUS = SIGBUS FPE = SIGFPE
    KILL = SIGKILL USR1 = SIGUSR1 SEGV = SIGSEGV USR2 = SIGUSR2 PIPE = SIGPIPE ALRM = SIGALRM TERM = SIGTERM
    STKFLT = SIGSTKFLT CHLD = SIGCHLD CONT = SIGCONT STOP = SIGSTOP TSTP = SIGTSTP TTIN = SIGTTIN TTOU = SIGTTOU
    URG = SIGURG XCPU = SIGXCPU XFSZ = SIGXFSZ VTALRM = SIGVTALRM PROF = SIGPROF WINCH = SIGWINCH IO = SIGIO
    PWR = SIGPWR SYS = SIGSYS
}

/// What a signal does when the program has said nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    Terminate,
    Ignore,
    Stop,
    Continue,
}

impl Signal {
    /// The highest signal number.
    pub const MAX: u8 = linux::_NSIG as u8;

    /// The signal with this number.
    ///
    /// # Errors
    /// `EINVAL` when there is none; 0 is none, too.
    pub fn new(number: u32) -> Result<Self, Errno> {
        match u8::try_from(number) {
            Ok(number @ 1..=Self::MAX) => Ok(Self(number)),
            _ => Err(Errno::EINVAL),
        }
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its place in a table of all signals.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Whether each instance is queued, not just the fact that there is one.
    pub fn is_real_time(self) -> bool {
        u32::from(self.0) >= linux::SIGRTMIN
    }

    /// The default action. Tine writes no core files, so that "core" is "terminate".
    pub fn default_action(self) -> DefaultAction {
        match self {
            Self::CHLD | Self::URG | Self::WINCH => DefaultAction::Ignore,
            Self::STOP | Self::TSTP | Self::TTIN | Self::TTOU => DefaultAction::Stop,
            Self::CONT => DefaultAction::Continue,
            _ => DefaultAction::Terminate,
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// A set of signals as Linux passes it: bit `n - 1` stands for signal `n`.
#[derive(Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    pub const EMPTY: Self = Self(0);
    pub const ALL: Self = Self(u64::MAX);
    /// What can be neither blocked, ignored nor handled.
    pub const UNBLOCKABLE: Self = Self::of(Signal::KILL).with(Signal::STOP);
    /// What the processor raises on the thread's own account; taken before all others, as on Linux.
    pub const SYNCHRONOUS: Self = Self::of(Signal::SEGV)
        .with(Signal::BUS)
        .with(Signal::ILL)
        .with(Signal::TRAP)
        .with(Signal::FPE)
        .with(Signal::SYS);
    /// What stops a process by default.
    pub const STOPPING: Self =
        Self::of(Signal::STOP).with(Signal::TSTP).with(Signal::TTIN).with(Signal::TTOU);

    pub const fn of(signal: Signal) -> Self {
        Self(1 << signal.index())
    }

    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << signal.index())
    }

    pub const fn contains(self, signal: Signal) -> bool {
        self.0 >> signal.index() & 1 == 1
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The signal of the set that is taken first: synchronous ones, then the lowest number.
    pub fn first(self) -> Option<Signal> {
        let urgent = self.intersection(Self::SYNCHRONOUS);
        let from = if urgent.is_empty() { self } else { urgent };
        (!from.is_empty()).then(|| Signal(from.0.trailing_zeros() as u8 + 1))
    }

    pub fn iter(self) -> impl Iterator<Item = Signal> {
        (1..=Signal::MAX).map(Signal).filter(move |signal| self.contains(*signal))
    }
}

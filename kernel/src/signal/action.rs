//! What a process wants done about each signal: `struct sigaction` and the table of them.

use super::{DefaultAction, SigSet, Signal};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use bitflags::bitflags;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

bitflags! {
    /// `sa_flags` (man 2 sigaction).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ActionFlags: u64 {
        const NO_CHILD_STOP = linux::SA_NOCLDSTOP as u64;
        const NO_CHILD_WAIT = linux::SA_NOCLDWAIT as u64;
        const SIGINFO = linux::SA_SIGINFO as u64;
        const RESTORER = linux::SA_RESTORER as u64;
        const ON_STACK = linux::SA_ONSTACK as u64;
        const RESTART = linux::SA_RESTART as u64;
        const NO_DEFER = linux::SA_NODEFER as u64;
        const RESET_HANDLER = linux::SA_RESETHAND as u64;
    }
}

/// `SIG_DFL` and `SIG_IGN` (`asm-generic/signal-defs.h`).
const DEFAULT: u64 = 0;
const IGNORE: u64 = 1;

/// The kernel's `struct sigaction`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Action {
    /// Address of the handler, or one of two small numbers.
    handler: u64,
    flags: u64,
    /// Where the handler returns to: code that calls `rt_sigreturn`.
    pub restorer: u64,
    /// Blocked while the handler runs.
    mask: SigSet,
}

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Default,
    Ignore,
    /// Call the handler at this address.
    Handler(u64),
}

impl Action {
    /// The flags that there are: others are cleared, so that a program can find out that they mean nothing
    /// (man 2 sigaction, "Dynamically probing for flag bit support").
    const KNOWN_FLAGS: u64 = ActionFlags::all().bits() | linux::SA_EXPOSE_TAGBITS as u64;

    const INITIAL: Self = Self { handler: DEFAULT, flags: 0, restorer: 0, mask: SigSet::EMPTY };

    pub fn disposition(&self) -> Disposition {
        match self.handler {
            DEFAULT => Disposition::Default,
            IGNORE => Disposition::Ignore,
            handler => Disposition::Handler(handler),
        }
    }

    /// What of its flags means something.
    pub fn flags(&self) -> ActionFlags {
        ActionFlags::from_bits_truncate(self.flags)
    }

    /// Signals that are blocked while the handler of `signal` runs, besides those that are anyway.
    pub fn blocks(&self, signal: Signal) -> SigSet {
        if self.flags().contains(ActionFlags::NO_DEFER) { self.mask } else { self.mask.with(signal) }
    }

    /// Whether `signal` comes to nothing under this action.
    pub fn ignores(&self, signal: Signal) -> bool {
        match self.disposition() {
            Disposition::Ignore => true,
            // SIGCONT has had its effect when it was sent.
            Disposition::Default => {
                matches!(signal.default_action(), DefaultAction::Ignore | DefaultAction::Continue)
            }
            Disposition::Handler(_) => false,
        }
    }
}

/// One action per signal; shared by what is cloned with CLONE_SIGHAND.
pub struct Actions {
    table: Lock<[Action; Signal::MAX as usize], { rank::SIGNAL }>,
}

impl Actions {
    /// Everything at its default.
    pub fn new() -> Self {
        Self { table: Lock::new([Action::INITIAL; Signal::MAX as usize]) }
    }

    /// A table of its own with the same content.
    pub fn copy(&self) -> Self {
        Self { table: Lock::new(*self.table.lock()) }
    }

    pub fn get(&self, signal: Signal) -> Action {
        self.table.lock()[signal.index()]
    }

    /// Changes an action and returns the old one.
    ///
    /// # Errors
    /// `EINVAL` for what can be neither ignored nor handled.
    pub fn set(&self, signal: Signal, mut action: Action) -> Result<Action, Errno> {
        if SigSet::UNBLOCKABLE.contains(signal) {
            return Err(Errno::EINVAL);
        }
        action.mask = action.mask.without(SigSet::UNBLOCKABLE);
        action.flags &= Action::KNOWN_FLAGS;
        Ok(core::mem::replace(&mut self.table.lock()[signal.index()], action))
    }

    /// The action for a delivery of `signal`; SA_RESETHAND takes effect.
    pub fn take(&self, signal: Signal) -> Action {
        let mut table = self.table.lock();
        let action = table[signal.index()];
        let one_shot = action.flags().contains(ActionFlags::RESET_HANDLER);
        if one_shot && matches!(action.disposition(), Disposition::Handler(_)) {
            table[signal.index()].handler = DEFAULT;
        }
        action
    }

    /// Takes a handler or the wish to ignore away, so that `signal` has its default effect.
    pub fn force_default(&self, signal: Signal) {
        self.table.lock()[signal.index()].handler = DEFAULT;
    }

    /// What exec leaves: handlers are gone with the program, ignored signals stay ignored (man 2 execve).
    pub fn reset_for_exec(&self) {
        for action in self.table.lock().iter_mut() {
            let handler = if action.handler == IGNORE { IGNORE } else { DEFAULT };
            *action = Action { handler, ..Action::INITIAL };
        }
    }
}

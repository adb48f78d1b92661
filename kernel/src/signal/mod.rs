//! Signals (man 7 signal).
//!
//! Sending makes a signal pending, for a thread or for a process, and tells a thread to look. Taking happens in one place,
//! [`deliver`], on the way back to user mode: it runs default actions, or puts a frame on the user stack that makes the
//! program's handler run next. Knows nothing of what the system calls look like (`syscall::signals`), nor of waiting for
//! children.
//!
//! Start at [`ThreadSignals`] and [`ProcessSignals`], then [`send_to_process`], then [`deliver`].

mod action;
mod altstack;
mod deliver;
pub mod fault;
mod fpstate;
mod frame;
mod info;
mod mask;
mod number;
mod pending;
mod record;
mod send;
mod settings;
mod state;
mod stop;
mod timer;
mod wait;

pub use action::{Action, ActionFlags, Disposition};
pub use altstack::AltStack;
pub use deliver::deliver;
pub use frame::{MIN_STACK, sigreturn};
pub use info::SigInfo;
pub use mask::{is_deliverable, set_mask, thread_ends, with_mask};
pub use number::{DefaultAction, SigSet, Signal};
pub use record::{fields, has_pending, is_stopped, masks, take};
pub use send::{force, parent_ignores_child, send_child_ended, send_to_process, send_to_thread};
pub use settings::{action, altstack, pending_and_blocked, set_action, set_altstack};
pub use state::{ProcessSignals, ThreadSignals};
pub use stop::{Change, is_any_stopped, report, thread_has_ended};
pub use timer::send_timer;
pub use wait::{suspend, wait_for};

use action::Actions;
use pending::Pending;

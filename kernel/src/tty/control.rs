//! Job control: which session a terminal belongs to, and which of its groups may use it (man 4 tty, man 2 ioctl_tty;
//! POSIX.1-2017, base definitions, 11.1).

use super::Tty;
use crate::errno::Errno;
use crate::signal::{self, Disposition, SigInfo, Signal};
use crate::task::{self, Current, Process};
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

impl Tty {
    /// Whether this is the controlling terminal of `process`.
    pub(super) fn controls(&self, process: &Process) -> bool {
        process.terminal().is_some_and(|terminal| core::ptr::eq(&raw const *terminal, self))
    }

    /// Stops a process in the background that reads (SIGTTIN), or writes or changes the terminal (SIGTTOU).
    ///
    /// # Errors
    /// `RESTART` when the signal was sent; `EIO` when nobody could continue the group, or when the reader does not take
    /// the signal. A process that does not take SIGTTOU goes on.
    pub(super) fn check_foreground(&self, current: &Current, signal: Signal) -> Result<(), Errno> {
        let process = &current.task.process;
        let foreground = self.state.lock().foreground;
        let group = process.group.load(Relaxed);
        if foreground == 0 || foreground == group || !self.controls(process) {
            return Ok(());
        }
        let is_deaf = current.task.signals.blocked().contains(signal)
            || signal::action(process, signal).disposition() == Disposition::Ignore;
        if is_deaf {
            return if signal == Signal::TTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        if task::is_orphaned(process, None) {
            return Err(Errno::EIO);
        }
        task::signal_group(group, signal);
        Err(Errno::RESTART)
    }

    /// A session's leader opens a terminal that nobody has: it becomes the session's.
    pub(super) fn adopt_if_free(self: &Arc<Self>, process: &Arc<Process>) {
        if process.leads_session() && process.terminal().is_none() {
            let mut state = self.state.lock();
            if state.session == 0 {
                state.session = process.session.load(Relaxed);
                state.foreground = process.group.load(Relaxed);
                drop(state);
                process.set_terminal(Some(self.clone()));
            }
        }
    }

    /// TIOCSCTTY; `steals` takes it away from another session.
    pub(super) fn set_controlling(self: &Arc<Self>, current: &Current, steals: bool) -> Result<(), Errno> {
        let process = &current.task.process;
        let session = process.session.load(Relaxed);
        let owner = self.state.lock().session;
        if process.leads_session() && owner == session {
            return Ok(());
        }
        if !process.leads_session() || process.terminal().is_some() || owner != 0 && !steals {
            return Err(Errno::EPERM);
        }
        if owner != 0 {
            self.forget_session(owner);
        }
        self.adopt_if_free(process);
        Ok(())
    }

    /// TIOCNOTTY.
    pub(super) fn give_up(&self, current: &Current) -> Result<(), Errno> {
        let process = &current.task.process;
        if !self.controls(process) {
            return Err(Errno::ENOTTY);
        }
        if process.leads_session() {
            let foreground = self.forget_session(process.session.load(Relaxed));
            task::signal_group(foreground, Signal::HUP);
            task::signal_group(foreground, Signal::CONT);
        }
        process.set_terminal(None);
        Ok(())
    }

    /// The session's leader has ended: those in the foreground are told to hang up.
    pub fn leave_session(&self, leader: &Process) {
        let foreground = self.forget_session(leader.session.load(Relaxed));
        if foreground != 0 {
            task::signal_group(foreground, Signal::HUP);
        }
    }

    /// Takes the terminal away from all processes of `session`. Returns the group that was in the foreground.
    fn forget_session(&self, session: u32) -> u32 {
        let foreground = {
            let mut state = self.state.lock();
            if state.session != session {
                return 0;
            }
            state.session = 0;
            core::mem::take(&mut state.foreground)
        };
        for process in task::all_processes() {
            if process.session.load(Relaxed) == session && self.controls(&process) {
                process.set_terminal(None);
            }
        }
        foreground
    }

    /// The other end is gone: programs find the end of the file, and the session's leader is told.
    pub(super) fn hang_up(&self) {
        let session = {
            let mut state = self.state.lock();
            state.is_hung_up = true;
            state.session
        };
        for queue in [&self.readable, &self.writable, &self.far_readable, &self.far_writable] {
            queue.wake_all();
        }
        if session != 0 {
            let leader = task::find_process(session);
            self.forget_session(session);
            if let Some(leader) = leader {
                for signal in [Signal::HUP, Signal::CONT] {
                    // A standard signal can always be made pending.
                    let _ = signal::send_to_process(&leader, SigInfo::from_kernel(signal));
                }
            }
        }
    }

    /// The group in the foreground; 0 for none.
    pub(super) fn foreground(&self) -> u32 {
        self.state.lock().foreground
    }

    pub(super) fn session(&self) -> u32 {
        self.state.lock().session
    }

    /// TIOCSPGRP.
    pub(super) fn set_foreground(&self, current: &Current, group: i32) -> Result<(), Errno> {
        self.check_foreground(current, Signal::TTOU)
            .map_err(|error| if error == Errno::EIO { Errno::ENOTTY } else { error })?;
        let session = current.task.process.session.load(Relaxed);
        if !self.controls(&current.task.process) || self.session() != session {
            return Err(Errno::ENOTTY);
        }
        let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
        let members = task::group_members(group);
        let member = members.first().ok_or(Errno::ESRCH)?;
        if member.session.load(Relaxed) != session {
            return Err(Errno::EPERM);
        }
        self.state.lock().foreground = group;
        Ok(())
    }
}

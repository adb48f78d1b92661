//! Taking signals on the way back to user mode.

use super::state::{self, Own};
use super::{
    Action, ActionFlags, DefaultAction, Disposition, SigInfo, SigSet, Signal, frame, send, set_mask, stop,
};
use crate::errno::Errno;
use crate::task::{self, Current, attention};

/// Delivers all signals that are deliverable to the current thread, and settles what becomes of a system call that a
/// signal interrupted.
///
/// Each handler gets a frame on the user stack; the last one runs first. To be called whenever
/// [`attention::SIGNAL`] is set; afterwards the thread may have to end instead of going on.
pub fn deliver(current: &Current) {
    let task = &current.task;
    let signals = &task.process.signals;
    // Before the look: what is sent after it will ask for attention again.
    task.attention_done(attention::SIGNAL);
    loop {
        stop::wait_while_stopped(current);
        if task.is_exiting() {
            return;
        }
        let moment = signals.stop_state.moment();
        let wanted = SigSet::ALL.without(task.signals.blocked());
        let Some(info) = state::take_pending(&task.signals, signals, wanted) else { break };
        let signal = info.signal();
        let action = signals.actions.take(signal);
        match (action.disposition(), signal.default_action()) {
            (Disposition::Handler(handler), _) => handle(current, &info, &action, handler),
            (Disposition::Default, DefaultAction::Terminate) => {
                task::exit_group(&task.process, send::killed_by(signal));
            }
            // Nobody could continue a group that has no parent outside (man 2 setpgid, "orphaned process group").
            (Disposition::Default, DefaultAction::Stop)
                if signal == Signal::STOP || !task::is_orphaned(&task.process, None) =>
            {
                stop::stop(&task.process, signal, moment);
            }
            (Disposition::Default, DefaultAction::Stop) => {}
            (Disposition::Default, DefaultAction::Ignore | DefaultAction::Continue)
            | (Disposition::Ignore, _) => {}
        }
    }
    settle_interrupted_call(current, None);
    let saved = task.signals.own.lock().saved_mask.take();
    if let Some(saved) = saved {
        set_mask(current, saved);
    }
}

/// Makes the thread's next user instruction the first of a handler.
fn handle(current: &Current, info: &SigInfo, action: &Action, handler: u64) {
    let signals = &current.task.signals;
    settle_interrupted_call(current, Some(action));
    let blocked = signals.blocked();
    let to_restore = signals.own.lock().saved_mask.take().unwrap_or(blocked);
    match frame::push(current, info, action, handler, to_restore) {
        Ok(()) => set_mask(current, blocked.union(action.blocks(info.signal()))),
        Err(_) => {
            set_mask(current, to_restore);
            give_up(current, info.signal());
        }
    }
}

/// There is no room for a frame: SIGSEGV, which kills if it is itself what could not be delivered.
fn give_up(current: &Current, signal: Signal) {
    if signal == Signal::SEGV {
        current.task.process.signals.actions.force_default(Signal::SEGV);
    }
    send::force(current, SigInfo::from_kernel(Signal::SEGV));
}

/// Decides what becomes of a system call that a signal interrupted: with a handler's `action`, or without one.
///
/// `orig_rax` says which call it was, and that it was one; it is cleared, so that this happens once. To restart a call is
/// to go back by the two bytes of the SYSCALL instruction.
fn settle_interrupted_call(current: &Current, action: Option<&Action>) {
    const SYSCALL_LENGTH: u64 = 2;
    const INTERRUPTED: [u64; 2] = [Errno::RESTART.to_register(), Errno::RESTART_NO_HANDLER.to_register()];
    let mut user = current.user.borrow_mut();
    let regs = &mut user.regs;
    let call = core::mem::replace(&mut regs.orig_rax, u64::MAX);
    if call == u64::MAX || !INTERRUPTED.contains(&regs.rax) {
        return;
    }
    let restarts = match action {
        None => true,
        Some(action) => {
            regs.rax == Errno::RESTART.to_register() && action.flags().contains(ActionFlags::RESTART)
        }
    };
    if restarts {
        regs.rax = call;
        regs.rip = regs.rip.wrapping_sub(SYSCALL_LENGTH);
    } else {
        regs.rax = Errno::EINTR.to_register();
    }
    if action.is_some() {
        current.task.signals.own.lock().forget_sleep();
    }
}

impl Own {
    /// A handler runs between an interrupted sleep and what comes after: nothing will go on with that sleep.
    fn forget_sleep(&mut self) {
        self.resumed_deadline = None;
    }
}

//! The kernel side of a thread's life: enter user mode, see to what ended that, and again.

use super::{Current, Task, attention, context};
use crate::{clock, cpus, interrupts, rseq, signal, syscall};
use arch::user::Exit;

/// Where every new thread starts, on its own stack, interrupts off, in the middle of the switch that dispatched it.
pub(super) extern "C" fn thread_entry(_: usize) -> ! {
    let dead = cpus::finish_switch();
    live();
    drop(dead);
    context::schedule_exit()
}

/// From the first instruction to the last. Everything that the thread holds is dropped on return.
fn live() {
    let thread = cpus::current_thread();
    let user = Task::of(&thread).and_then(|task| task.start.lock().take()).expect("a thread starts once");
    let current = Current::new(thread, *user);
    if current.task.id.0 == 1 {
        arch::interrupts::enable();
        crate::run::announce();
    }
    run(&current);
    super::exit::finish(&current);
}

/// Runs the thread until it must end.
fn run(current: &Current) {
    while prepare_for_user_mode(current) {
        let exit = {
            let mut user = current.user.borrow_mut();
            current.before_user_mode();
            user.run()
        };
        match exit {
            Exit::Syscall => {
                current.note_progress();
                arch::interrupts::enable();
                syscall::dispatch(current);
            }
            Exit::Fault(fault) => {
                if current.has_progressed() {
                    current.note_progress();
                }
                arch::interrupts::enable();
                signal::fault::from_user(current, &fault);
            }
            Exit::Interrupt(vector) => interrupts::from_user(current, vector),
        }
    }
}

/// Does what must be done before user code goes on: due timers, other threads' turns, signals.
///
/// Returns with interrupts off, so that nothing new can come up unseen; false when the thread must end.
fn prepare_for_user_mode(current: &Current) -> bool {
    loop {
        arch::interrupts::disable();
        if cpus::needs_reschedule() {
            clock::run_due();
            let has_run = current.has_progressed();
            current.schedule(if has_run { sched::Leave::Preempt } else { sched::Leave::Hold });
        } else if current.task.attention() == 0 {
            return true;
        } else {
            arch::interrupts::enable();
            if current.task.is_exiting() {
                return false;
            }
            rseq::update(current);
            if current.task.attention() & attention::SIGNAL != 0 {
                signal::deliver(current);
            }
        }
    }
}

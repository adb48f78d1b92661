//! Giving up the CPU and getting it back.
//!
//! The one place where a CPU changes stacks. A thread saves its own user state before the switch and loads it after,
//! so that nobody ever reaches into another thread's registers.
#![expect(unsafe_code, reason = "stacks are switched here and nowhere else")]

use super::Task;
use super::step::Steps;
use crate::{clock, cpus, trace};
use alloc::sync::Arc;
use arch::context::Context;
use arch::interrupts;
use arch::user::UserContext;
use core::cell::{Cell, RefCell, UnsafeCell};
use formats::trace::Event;
use mm::AddressSpace;
use sched::{Leave, Switch};
use x86_64::VirtAddr;
use x86_64::registers::control::Cr3;

/// Where a thread that is off its CPU goes on.
pub(super) struct SavedContext(UnsafeCell<Context>);

// SAFETY: only `switch_stacks` touches the content: as `from`, on the CPU that runs the thread; as `to`, on the CPU to
// which the scheduler just gave the thread. The scheduler gives a thread to one CPU at a time, and only after the CPU
// that ran it before has called `finish_switch`, which comes after the content was written.
unsafe impl Sync for SavedContext {}

impl SavedContext {
    /// A context that has never run: it will start `entry` on the stack that ends at `stack_top`.
    pub(super) fn new(stack_top: VirtAddr, entry: extern "C" fn(usize) -> !) -> Self {
        // SAFETY: the stack belongs to the task that will own this context, and is not used otherwise.
        Self(UnsafeCell::new(unsafe { Context::new(stack_top, entry, 0) }))
    }

    fn of(thread: &sched::Thread) -> *mut Context {
        let saved = match thread.task::<Task>() {
            Some(task) => &task.context,
            None => &thread.task::<IdleTask>().expect("a thread is a task or idle").0,
        };
        saved.0.get()
    }
}

/// An idle thread: the stack on which a CPU started.
pub struct IdleTask(SavedContext);

impl IdleTask {
    /// For the CPU that calls, whose stack of this moment becomes the idle thread's.
    pub fn here() -> Self {
        Self(SavedContext(UnsafeCell::new(Context::empty())))
    }
}

/// Leaves `switch.previous`, which is running here, for `switch.next`. Returns when somebody switches back.
///
/// Interrupts must be off and stay off until [`cpus::finish_switch`].
fn switch_stacks(switch: Switch) {
    let from = SavedContext::of(&switch.previous);
    let to = SavedContext::of(&switch.next);
    // The scheduler keeps both threads until the next thread calls `finish_switch`; a frame that is left for ever must
    // not hold references.
    drop(switch);
    // SAFETY: `reschedule` has made `next` this CPU's thread and no other CPU can run it; `from` belongs to the thread
    // that runs here. Both live in tasks that the scheduler holds. Interrupts are off.
    unsafe { arch::context::switch(from, to) };
}

/// The thread that is running, as it passes itself down through its system calls.
pub struct Current {
    pub task: Arc<Task>,
    pub thread: Arc<sched::Thread>,
    /// User registers and floating-point state. Borrowed only for moments, never across a sleep.
    pub user: RefCell<UserContext>,
    space: RefCell<Option<Arc<AddressSpace>>>,
    /// Whether a user instruction has retired since the thread was dispatched.
    progressed: Cell<bool>,
    /// Something is still to be noted, or a storm to be made, when it enters user mode.
    is_new: Cell<bool>,
    pub(super) steps: Steps,
    /// The thread in which the process goes on when this one has ended: see [`super::exec`].
    pub(super) heir: RefCell<Option<Arc<sched::Thread>>>,
}

impl Current {
    /// The thread that starts on this CPU at this moment.
    pub(super) fn new(thread: Arc<sched::Thread>, user: UserContext) -> Self {
        let task = Task::of(&thread).and_then(|task| task.this.upgrade()).expect("its thread holds the task");
        let space = task.process.space();
        let current = Self {
            task,
            thread,
            user: RefCell::new(user),
            space: RefCell::new(space),
            progressed: Cell::new(false),
            is_new: Cell::new(true),
            steps: Steps::none(),
            heir: RefCell::new(None),
        };
        current.begin_steps();
        let _off = interrupts::off();
        current.enter(true);
        current
    }

    /// The memory of this thread.
    ///
    /// # Panics
    /// After an ending thread has given it up.
    pub fn space(&self) -> Arc<AddressSpace> {
        self.space.borrow().clone().expect("a thread has its memory until it ends")
    }

    /// Resolves a fault at `address` in the memory of this thread.
    pub fn fault(&self, address: VirtAddr, access: mm::Access) -> Result<(), mm::FaultError> {
        match &*self.space.borrow() {
            Some(space) => space.fault(address, access),
            None => Err(mm::FaultError::NotMapped),
        }
    }

    /// Goes on in another memory, for exec; in none, for the end. Returns the old one.
    pub(super) fn change_space(&self, new: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        let _off = interrupts::off();
        let old = self.space.replace(new);
        AddressSpace::switch(old.as_deref(), self.space.borrow().as_deref());
        old
    }

    /// Gives up the CPU for `why` and returns when the thread runs again; at once when there is nothing better to run.
    pub fn schedule(&self, why: Leave) {
        arch::sync::rank::assert_none_held();
        let off = interrupts::off();
        if let Some(switch) = cpus::reschedule(why) {
            self.user.borrow_mut().save();
            AddressSpace::switch(self.space.borrow().as_deref(), None);
            switch_stacks(switch);
            let dead = cpus::finish_switch();
            self.enter(matches!(why, Leave::Preempt | Leave::Hold));
            drop(off);
            drop(dead);
        } else {
            clock::limit_slice();
        }
    }

    /// Makes this CPU the thread's own: memory and user state. `preempted`: it may have lost its last CPU at any instruction.
    fn enter(&self, preempted: bool) {
        AddressSpace::switch(None, self.space.borrow().as_deref());
        self.user.borrow_mut().load();
        self.task.note_rseq(preempted);
        self.progressed.set(false);
        clock::start_tick();
        trace::sched(|| Event::Resume {
            thread: self.task.id,
            rip: self.user.borrow().regs.rip,
            cr3: Cr3::read_raw().0.start_address().as_u64(),
        });
    }

    /// Whether a user instruction has retired since the thread was dispatched (R2 and R3 of the first-run guarantee).
    pub fn has_progressed(&self) -> bool {
        self.progressed.get() || self.user.borrow().retired_since_entry()
    }

    /// What is to be done each time before user mode while the thread is new. Interrupts are off.
    pub(super) fn before_user_mode(&self) {
        if self.is_new.get() {
            self.is_new.set(cpus::before_user_mode(&self.thread));
        }
    }

    pub fn note_progress(&self) {
        self.progressed.set(true);
    }
}

/// Lets an idle CPU run what there is; returns when it is idle again.
///
/// Interrupts must be off, and are off when it returns.
pub fn schedule_idle() {
    if let Some(switch) = cpus::reschedule(Leave::Preempt) {
        switch_stacks(switch);
        drop(cpus::finish_switch());
    }
}

/// Gives up the CPU for ever.
pub(super) fn schedule_exit() -> ! {
    interrupts::disable();
    let switch = cpus::reschedule(Leave::Exit).expect("a thread that exits is always followed, if by idle");
    switch_stacks(switch);
    unreachable!("a thread that has exited was dispatched");
}

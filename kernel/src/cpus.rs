//! The processors: what the scheduler's core needs of the machine, and what the rest of the kernel needs of the core.
//!
//! One [`sched::Core`] drives all CPUs. This module gives it a clock and interprocessor interrupts and carries out what it
//! answers; when the timer fires is [`crate::clock`]'s task.

pub mod hotplug;
pub mod policies;

use crate::options::Options;
use crate::task::{IdleTask, Task};
use crate::{clock, trace};
use alloc::{format, string::String, sync::Arc};
use arch::sync::{RawIrqLock, rank};
use arch::vectors;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use formats::record::CpuStats;
use formats::trace::Event;
use formats::{CpuId, CpuSet, Duration, Instant};
use sched::{Config, Core, Dead, Kind, Leave, NewThread, NoBandwidth, Platform, Policy, Switch, Topology};
use spin::Once;

struct Hardware;

impl Platform for Hardware {
    type Lock = RawIrqLock<{ rank::RUN_QUEUE }>;

    fn now(&self) -> Instant {
        arch::time::now()
    }

    fn kick(&self, cpu: CpuId) {
        arch::apic::send(cpu, vectors::RESCHEDULE);
    }

    #[inline]
    fn interleave(&self) {
        crate::perturb::point();
    }

    fn protect(&self, policy: &mut dyn FnMut()) -> bool {
        arch::guard::call(policy)
    }

    /// Each CPU writes to its own ring, also where the event is another's.
    #[inline]
    fn trace(&self, _here: CpuId, event: impl FnOnce() -> Event) {
        trace::sched(event);
    }
}

static CORE: Once<Core<Hardware>> = Once::new();
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

fn core() -> &'static Core<Hardware> {
    CORE.get().expect("cpus::init runs before any thread")
}

/// Makes the scheduler. `topology` describes all CPUs that may come.
pub fn init(options: &Options, topology: Topology) {
    let tick = options.tick();
    let config = Config {
        tick,
        quantum: tick,
        timer: options.timer,
        first_run: options.first_run,
        seed: options.seed,
        order: options.order,
        balancer: options.balancer,
    };
    CORE.call_once(|| Core::new(Hardware, topology, config));
    policies::init();
}

/// Where the CPUs are.
pub fn topology() -> &'static Topology {
    core().machine().topology()
}

/// Turns the caller, which runs on the stack on which this CPU started, into the CPU's idle thread, and takes part in the
/// scheduling from now on. `each_time` is called whenever the CPU has nothing to run, before it sleeps.
///
/// A CPU that is taken offline stays in here: it runs no threads, and serves interrupts and its sleepers' deadlines.
pub fn idle(mut each_time: impl FnMut()) -> ! {
    let here = arch::cpu::id();
    core().bring_online(
        here,
        NewThread {
            id: formats::ThreadId(0),
            kind: Kind::Idle,
            affinity: CpuSet::of(here),
            policy: Policy::default(),
            task: Arc::new(IdleTask::here()),
        },
    );
    loop {
        arch::interrupts::disable();
        if core().needs_reschedule(here) {
            clock::run_due();
            crate::task::schedule_idle();
            continue;
        }
        arch::interrupts::enable();
        each_time();
        arch::interrupts::disable();
        if !core().needs_reschedule(here) {
            clock::stop_tick();
            trace::all(|| Event::Halt);
            arch::interrupts::wait();
        }
    }
}

/// Waits until `count` CPUs take part.
pub fn wait_for(count: usize) {
    let mut spinner = arch::sync::Spinner::new(core::ptr::from_ref(core()).addr(), None);
    while online().len() < count {
        spinner.pause();
    }
}

/// The CPUs that take part.
pub fn online() -> CpuSet {
    core().machine().online()
}

/// Tells the scheduler of a new thread, which does not run before [`start`].
pub fn spawn(task: Arc<Task>, affinity: CpuSet, policy: Policy) -> Arc<sched::Thread> {
    core().spawn(NewThread { id: task.id, kind: Kind::User, affinity, policy, task }, arch::cpu::id())
}

pub fn start(thread: &Arc<sched::Thread>) {
    core().start(thread, arch::cpu::id());
}

/// Says that `thread`, which is the caller, is about to sleep. A wake-up from now on is not lost.
pub fn announce_sleep(thread: &sched::Thread) {
    core().announce_sleep(thread);
}

pub fn cancel_sleep(thread: &sched::Thread) {
    core().cancel_sleep(thread);
}

pub fn wake(thread: &sched::Thread) -> bool {
    core().wake(thread, arch::cpu::id())
}

/// Ends the sleep of `thread`, or its stay in user mode if it is running, so that it looks at what is demanded of it.
pub fn interrupt(thread: &sched::Thread) {
    let here = arch::cpu::id();
    if !core().wake(thread, here) && thread.cpu() != here {
        arch::apic::send(thread.cpu(), vectors::RESCHEDULE);
    }
}

/// Ends the sleep of the boot CPU's idle thread, so that it looks whether the run is over.
pub fn wake_boot_cpu() {
    if arch::cpu::id() != CpuId::BOOT {
        arch::apic::send(CpuId::BOOT, vectors::RESCHEDULE);
    }
}

/// Moves `thread` to the CPUs in `set`, at once if it is waiting, at its CPU's next chance if it runs.
pub fn set_affinity(thread: &Arc<sched::Thread>, set: CpuSet) {
    core().set_affinity(thread, set, arch::cpu::id());
}

/// Lets `thread` compete by `policy`.
///
/// # Errors
/// When a reservation cannot be met.
pub fn set_policy(thread: &sched::Thread, policy: Policy) -> Result<(), NoBandwidth> {
    core().set_policy(thread, policy, arch::cpu::id())
}

/// Gives back what an ending thread has reserved.
pub fn release_bandwidth(thread: &sched::Thread) {
    core().release_bandwidth(thread);
}

/// When this CPU must look again although nothing happens.
pub fn next_event() -> Option<Instant> {
    core().next_event(arch::cpu::id())
}

/// Whether this CPU should call [`reschedule`].
pub fn needs_reschedule() -> bool {
    core().needs_reschedule(arch::cpu::id())
}

/// How long `thread` has run, up to now.
pub fn cpu_time(thread: &sched::Thread) -> Duration {
    core().ran(thread)
}

/// Makes this CPU look for what is to be done before user code goes on.
pub fn request_reschedule() {
    core().request_reschedule(arch::cpu::id());
}

/// Whether it would make a difference if the thread that runs on this CPU gave way.
#[inline]
pub fn may_yield() -> bool {
    core().may_yield(arch::cpu::id())
}

/// Decides what runs next. Interrupts are off; with `Some`, the caller switches stacks and the next thread calls
/// [`finish_switch`].
pub fn reschedule(why: Leave) -> Option<Switch> {
    core().reschedule(arch::cpu::id(), why)
}

/// The second half of a switch, called by the thread that was switched to. A thread that has died is returned, to be
/// dropped when interrupts are on.
pub fn finish_switch() -> Option<Dead> {
    clock::remember_due_timers();
    core().finish_switch(arch::cpu::id())
}

/// The thread that runs on this CPU.
pub fn current_thread() -> Arc<sched::Thread> {
    core().current(arch::cpu::id())
}

/// Another CPU has asked this one to look at its queue.
///
/// The flag stays up until the CPU has looked: one that is about to sleep has not looked since, and must do so again.
pub fn called_by_other() {
    request_reschedule();
    clock::arm();
}

/// What is to be done before a new thread goes to user mode. Interrupts are off. Returns whether it is to be called again.
pub fn before_user_mode(thread: &sched::Thread) -> bool {
    core().note_first_instruction(thread, arch::cpu::id());
    clock::storm_before_user_mode(thread)
}

/// A tick on the running thread.
pub fn tick(progress: sched::Progress) -> sched::Tick {
    core().tick(arch::cpu::id(), progress)
}

/// When the running thread's time slice ends in one-shot mode.
pub fn slice_end() -> Option<Instant> {
    core().slice_end(arch::cpu::id())
}

/// How long a thread may run while others wait.
pub fn quantum() -> Duration {
    core().config().quantum
}

/// A number below `bound` from this CPU's generator, which the seed began.
pub fn draw(bound: usize) -> usize {
    core().machine().random(arch::cpu::id(), bound)
}

/// What `cpu` is doing, in a few words, for reports. Waits for the lock of its queue only for a moment.
pub fn describe(cpu: CpuId) -> String {
    format!("{:?}, {} waiting", core().current(cpu), core().machine().waiting(cpu))
}

/// An interrupt that nobody expects: counted, not handled.
pub fn count_unexpected(_vector: u8) {
    UNEXPECTED.fetch_add(1, Relaxed);
}

/// Times in which threads waited while CPUs idled.
pub fn violations() -> &'static sched::Violations {
    core().machine().violations()
}

/// What each CPU has counted, those that are offline included.
pub fn stats() -> alloc::vec::Vec<CpuStats> {
    hotplug::present().iter().map(|cpu| core().cpu_stats(cpu)).collect()
}

//! The hand-over of threads between CPUs under a model checker (shuttle).
//!
//! Each CPU is a thread of the checker, which changes CPUs at every lock, at every kick, and wherever the core says that
//! others may see an intermediate state ([`sched::Platform::interleave`]). An idle CPU really waits for a kick: a
//! wake-up or a kick that is lost leaves the machine standing still, which the checker reports as a deadlock.
//!
//! The checker interleaves whole steps; it does not reorder memory accesses. The orderings in `sched` that matter are
//! sequentially consistent for that reason.

mod bounded;
mod exhaustive;
mod faults;
mod machine;
mod platform;

use machine::{Action, Action::*, run};
use sched::balance::{IDLE_STEAL, TWO_CHOICES};
use sched::order::{EEVDF, ROUND_ROBIN};
use sched::{Config, CpuId, Duration, Reservation, balance, order};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

const A: CpuId = CpuId(0);
const B: CpuId = CpuId(1);
const C: CpuId = CpuId(2);

type Programs = &'static [&'static [Action]];

/// Runs `programs` on `cpus` CPUs, under every order and every balancer, in many schedules.
fn check(cpus: usize, programs: Programs) {
    balance::balancers().iter().for_each(|balancer| check_balancer(cpus, programs, balancer));
    for order in order::orders() {
        check_config(cpus, programs, Config { order, ..Config::default() });
    }
}

fn check_balancer(cpus: usize, programs: Programs, balancer: &'static balance::Entry) {
    check_config(cpus, programs, Config { balancer, ..Config::default() });
}

fn check_config(cpus: usize, programs: Programs, config: Config) {
    explore(RandomScheduler::new(iterations(150)), cpus, programs, config);
    explore(PctScheduler::new(3, iterations(100)), cpus, programs, config);
}

fn explore(scheduler: impl Scheduler + 'static, cpus: usize, programs: Programs, config: Config) {
    shuttle::Runner::new(scheduler, options()).run(move || run(cpus, programs, config, None));
}

/// A machine that has not ended after so many steps will not end.
const MOST_STEPS: usize = 20_000;

fn options() -> shuttle::Config {
    let mut options = shuttle::Config::default();
    options.stack_size = 256 << 10;
    options.silence_warnings = true;
    options.max_steps = shuttle::MaxSteps::FailAfter(MOST_STEPS);
    options
}

/// `default`, or what the environment variable SHUTTLE_ITERATIONS says.
fn iterations(default: usize) -> usize {
    std::env::var("SHUTTLE_ITERATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

#[test]
fn threads_that_wake_each_other_never_sleep_for_ever() {
    check(2, &[&[Start(1), Up(1), Down, Up(1), Down], &[Down, Up(0), Down, Up(0)]]);
}

#[test]
fn forks_yields_and_exits_on_three_cpus_lose_nobody() {
    check(
        3,
        &[&[Start(1), Start(2), Yield, Start(3)], &[Yield, Yield], &[Yield], &[Yield, Tick, Tick, Yield]],
    );
}

#[test]
fn two_wakers_of_one_sleeper_make_it_runnable_once() {
    check(3, &[&[Start(1), Start(2), Down, Down, Yield], &[Up(0), Yield], &[Up(0)]]);
}

#[test]
fn a_thread_is_where_it_may_be_whoever_moves_it_meanwhile() {
    check(
        3,
        &[
            &[Start(1), Start(2), Pin(1, &[A]), Yield, Down, Pin(1, &[C]), Up(1), Yield],
            &[Yield, Yield, Down, Assert(&[C]), Yield, Assert(&[C])],
            &[Pin(1, &[B]), Yield, Pin(0, &[B, C]), Up(0), Yield],
        ],
    );
}

#[test]
fn a_thread_that_is_pinned_while_it_is_on_its_way_goes_back() {
    check(2, &[&[Start(1), Pin(1, &[A]), Up(1), Yield], &[Down, Assert(&[A])]]);
    check(2, &[&[Start(1), Start(2), Yield, Pin(1, &[B]), Up(1)], &[Yield, Down, Assert(&[B])], &[Yield]]);
}

#[test]
fn a_waiting_thread_and_an_idle_cpu_do_not_miss_each_other() {
    let conserving = balance::balancers().iter().filter(|balancer| balancer.conserves_work);
    for balancer in conserving {
        check_balancer(2, &[&[Start(1), Await(1)], &[Yield]], balancer);
        check_balancer(
            3,
            &[&[Start(1), Start(2), Await(1), Await(2)], &[Yield, Await(2)], &[Yield]],
            balancer,
        );
        check_balancer(2, &[&[Start(1), Up(1), Await(1)], &[Down]], balancer);
    }
}

#[test]
fn three_wakers_of_one_sleeper_all_count() {
    check(
        3,
        &[&[Start(1), Start(2), Start(3), Down, Down, Down], &[Up(0)], &[Yield, Up(0)], &[Up(0), Yield]],
    );
}

#[test]
fn a_cpu_goes_offline_while_others_work() {
    check(3, &[&[Start(1), Start(2), Offline(C), Yield, Down], &[Yield, Yield, Up(0)], &[Yield, Yield]]);
}

#[test]
fn a_cpu_goes_offline_and_comes_back_while_others_work() {
    check(
        3,
        &[
            &[Start(1), Start(2), Offline(C), Yield, Online(C), Down],
            &[Yield, Pin(2, &[C]), Yield, Up(0)],
            &[Yield, Exec, Yield],
        ],
    );
}

#[test]
fn threads_that_sleep_and_wake_outlive_a_change_of_order_and_balancer() {
    const PROGRAMS: Programs = &[
        &[Start(1), Start(2), Order(&EEVDF), Balancer(&IDLE_STEAL), Down, Order(&ROUND_ROBIN), Down],
        &[Yield, Up(0), Balancer(&TWO_CHOICES), Order(&EEVDF), Yield],
        &[Yield, Up(0), Exec, Yield],
    ];
    check(3, PROGRAMS);
}

#[test]
fn thieves_and_threads_that_end_do_not_meet() {
    check(3, &[&[Start(1), Start(2), Start(3)], &[Start(4)], &[], &[Yield], &[]]);
}

#[test]
fn a_new_thread_that_is_moved_gets_its_first_tick_where_it_then_runs() {
    check(
        3,
        &[
            &[Start(1), Pin(1, &[B, C]), Start(2), Pin(1, &[C]), Yield],
            &[FirstTick, Yield, Tick],
            &[FirstTick, Offline(B), Tick, Online(B)],
        ],
    );
}

#[test]
fn a_thread_changes_its_class_wherever_it_is_at_that_moment() {
    const URGENT: sched::Policy = sched::Policy::Fifo { priority: 5 };
    const RESERVED: sched::Policy = sched::Policy::Deadline(Reservation {
        runtime: Duration::from_millis(500),
        deadline: Duration::from_millis(600),
        period: Duration::from_millis(1_000),
    });
    const ORDINARY: sched::Policy = sched::Policy::normal(3);
    check(
        3,
        &[
            &[Start(1), Start(2), Policy(1, URGENT), Policy(2, RESERVED), Up(1), Policy(1, RESERVED), Yield],
            &[Down, Policy(0, URGENT), Yield, Policy(2, ORDINARY), Yield],
            &[Yield, Policy(1, ORDINARY), Yield, Policy(0, ORDINARY), Pin(1, &[B]), Yield],
        ],
    );
}

//! What the classes above the fair one promise, and that none of it is lost when policies change.

use crate::laboratory::{Laboratory, Program, Then, ms, us};
use crate::machine::{RAN, STUCK};
use proptest::prelude::*;
use proptest::sample::select;
use sched::balance::{IDLE_STEAL, NONE, TWO_CHOICES};
use sched::{Config, CpuId, CpuSet, Duration, Leave, NoBandwidth, Policy, Reservation, Tick, Timer, order};

const A: CpuId = CpuId(0);
const B: CpuId = CpuId(1);

const NORMAL: Policy = Policy::normal(0);

fn fifo(priority: u8) -> Policy {
    Policy::Fifo { priority }
}

fn round_robin(priority: u8) -> Policy {
    Policy::RoundRobin { priority }
}

fn deadline(runtime: Duration, period: Duration) -> Policy {
    Policy::Deadline(Reservation { runtime, deadline: period, period })
}

fn one_cpu(timer: Timer) -> Laboratory {
    Laboratory::new(1, Config { balancer: &NONE, timer, ..Config::default() })
}

/// Starts a thread and gives it that policy.
fn start(laboratory: &mut Laboratory, policy: Policy, program: Program) -> usize {
    let index = laboratory.start_here(NORMAL, program);
    set(laboratory, index, policy).unwrap();
    index
}

fn set(laboratory: &mut Laboratory, index: usize, policy: Policy) -> Result<(), NoBandwidth> {
    let thread = laboratory.thread(index).clone();
    let done = laboratory.core.set_policy(&thread, policy, A);
    laboratory.act();
    done
}

/// How long `index` runs in the next `time`, in milliseconds.
fn runs_in(laboratory: &mut Laboratory, index: usize, time: Duration) -> f64 {
    let before = laboratory.ran(index);
    laboratory.run(time);
    (laboratory.ran(index) - before).as_ticks() as f64 / 1e6
}

const TIMERS: [Timer; 2] = [Timer::Periodic, Timer::OneShot];

#[test]
fn a_real_time_thread_has_the_cpu_but_for_five_percent_of_each_second() {
    for timer in TIMERS {
        let mut laboratory = one_cpu(timer);
        let normal = laboratory.start_here(NORMAL, Program::SPIN);
        laboratory.run(ms(1_500));
        start(&mut laboratory, fifo(1), Program::SPIN);
        for second in 0..5 {
            let normal = runs_in(&mut laboratory, normal, ms(1_000));
            assert!((40.0..=60.0).contains(&normal), "{timer:?}: {normal} ms in second {second}");
        }
    }
}

#[test]
fn real_time_threads_have_all_of_the_second_while_no_fair_thread_wants_it() {
    for timer in TIMERS {
        let mut laboratory = one_cpu(timer);
        let low = start(&mut laboratory, fifo(1), Program::SPIN);
        assert_eq!(runs_in(&mut laboratory, low, ms(2_970)), 2_970.0);
        // Nor does the limit keep one from another.
        let high = laboratory.start_here(fifo(2), Program::SPIN);
        assert_eq!(runs_in(&mut laboratory, high, ms(3_000)), 3_000.0);
    }
}

#[test]
fn who_comes_late_gets_its_five_percent_and_not_what_nobody_wanted_before() {
    for timer in TIMERS {
        for before in [2_970, 4_321] {
            let mut laboratory = one_cpu(timer);
            let busy = start(&mut laboratory, fifo(1), Program::SPIN);
            laboratory.run(ms(before));
            let normal = laboratory.start_here(NORMAL, Program::SPIN);
            let ran = runs_in(&mut laboratory, normal, ms(2_000));
            assert!((40.0..=160.0).contains(&ran), "{timer:?}: {ran} ms in two seconds");
            assert!(runs_in(&mut laboratory, busy, ms(1_000)) >= 940.0);
        }
    }
}

#[test]
fn of_real_time_threads_the_highest_priority_runs_and_at_once() {
    let mut laboratory = one_cpu(Timer::Periodic);
    let middle = start(&mut laboratory, fifo(50), Program::SPIN);
    laboratory.run(ms(30));
    let low = start(&mut laboratory, round_robin(49), Program::SPIN);
    let high = start(&mut laboratory, fifo(99), Program::periodic(2_000, 8_000));
    laboratory.run(us(1));
    assert_eq!(laboratory.running(A), Some(high));
    let ran = [high, middle, low].map(|index| laboratory.ran(index));
    laboratory.run(ms(500));
    let ran: Vec<_> = [high, middle, low]
        .iter()
        .zip(ran)
        .map(|(index, ran)| (laboratory.ran(*index) - ran).as_millis())
        .collect();
    assert_eq!(ran, [100, 400, 0]);
}

#[test]
fn fifo_threads_of_one_priority_run_to_their_end_and_round_robin_ones_in_turn() {
    for timer in TIMERS {
        let mut laboratory = one_cpu(timer);
        let [first, second] = [0; 2].map(|_| start(&mut laboratory, fifo(10), Program::SPIN));
        laboratory.run(ms(1_000));
        assert_eq!((laboratory.ran(first), laboratory.ran(second)), (ms(1_000), ms(0)));

        let mut laboratory = one_cpu(timer);
        let threads = [0; 3].map(|_| start(&mut laboratory, round_robin(10), Program::SPIN));
        laboratory.run(ms(1_000));
        for turn in 0..9 {
            let before = threads.map(|index| laboratory.ran(index));
            laboratory.run(ms(300));
            for (index, before) in threads.iter().zip(before) {
                let ran = (laboratory.ran(*index) - before).as_millis();
                assert!((90..=110).contains(&ran), "{timer:?}: {ran} ms in turn {turn}");
            }
        }
    }
}

#[test]
fn a_fifo_thread_that_is_preempted_goes_on_before_its_equals() {
    let mut laboratory = one_cpu(Timer::Periodic);
    let [first, second] = [0; 2].map(|_| start(&mut laboratory, fifo(10), Program::SPIN));
    start(&mut laboratory, fifo(20), Program::periodic(3_000, 20_000));
    laboratory.run(ms(500));
    assert!(laboratory.ran(first) > ms(400));
    assert_eq!(laboratory.ran(second), ms(0));
}

#[test]
fn a_real_time_thread_that_yields_goes_behind_its_equals_and_not_behind_lower_ones() {
    let mut laboratory = one_cpu(Timer::Periodic);
    let yields = Program { burst: ms(1), then: Then::Yield };
    let threads = [10, 10, 9].map(|priority| start(&mut laboratory, fifo(priority), yields));
    laboratory.run(ms(400));
    let ran = threads.map(|index| laboratory.ran(index).as_millis());
    assert!(ran[0].abs_diff(ran[1]) <= 30 && ran[2] == 0, "{ran:?}");
}

#[test]
fn a_real_time_thread_preempts_a_new_one_once_that_has_retired_an_instruction() {
    for newcomer in [NORMAL, fifo(1)] {
        let config = Config { balancer: &NONE, ..Config::default() };
        let mut laboratory = Laboratory::new(1, config);
        let urgent = laboratory.start_here(fifo(50), Program::periodic(1_000, 3_000));
        laboratory.run(ms(2));
        let new = laboratory.start_here(newcomer, Program::SPIN);
        assert_eq!(laboratory.running(A), Some(new));
        let urgent_thread = laboratory.thread(urgent).clone();
        assert!(laboratory.core.wake(&urgent_thread, A));
        // On its way to user mode it holds the CPU, and a tick that finds it there does not change that.
        assert!(laboratory.core.reschedule(A, Leave::Hold).is_none());
        assert_eq!(laboratory.core.tick(A, STUCK), Tick::Continue);
        assert!(!laboratory.thread(new).has_had_first_run());
        assert_eq!(laboratory.core.tick(A, RAN), Tick::Reschedule);
        let next = laboratory.core.reschedule(A, Leave::Preempt).expect("it has retired an instruction");
        assert_eq!(next.next.id(), urgent_thread.id());
    }
}

#[test]
fn a_fair_thread_does_not_preempt_a_new_real_time_one_nor_the_other_way_round_for_nothing() {
    let mut laboratory = one_cpu(Timer::Periodic);
    let real_time = laboratory.start_here(fifo(1), Program::SPIN);
    laboratory.start_here(NORMAL, Program::SPIN);
    laboratory.run(ms(100));
    assert_eq!(laboratory.ran(real_time), ms(100));
}

#[test]
fn a_deadline_thread_gets_its_runtime_in_each_period_and_no_more_while_others_wait() {
    for timer in TIMERS {
        for others in [NORMAL, fifo(99)] {
            let mut laboratory = one_cpu(timer);
            let thread = laboratory.start_here(NORMAL, Program::SPIN);
            laboratory.run(ms(50));
            start(&mut laboratory, others, Program::SPIN);
            set(&mut laboratory, thread, deadline(ms(3), ms(20))).unwrap();
            for period in 0..200 {
                let ran = runs_in(&mut laboratory, thread, ms(20));
                assert!((ran - 3.0).abs() < 0.01, "{timer:?}: {ran} ms in period {period}");
            }
        }
    }
}

#[test]
fn several_deadline_threads_all_get_theirs() {
    let mut laboratory = one_cpu(Timer::Periodic);
    let spinners = [(1, 4), (3, 12), (8, 30)];
    let threads = spinners.map(|_| laboratory.start_here(NORMAL, Program::SPIN));
    laboratory.start_here(NORMAL, Program::SPIN);
    laboratory.run(ms(100));
    for (index, (runtime, period)) in threads.into_iter().zip(spinners) {
        set(&mut laboratory, index, deadline(ms(runtime), ms(period))).unwrap();
    }
    laboratory.run(ms(60));
    let before = threads.map(|index| laboratory.ran(index).as_millis());
    laboratory.run(ms(6_000));
    let after = threads.map(|index| laboratory.ran(index).as_millis());
    for ((before, after), (runtime, period)) in before.into_iter().zip(after).zip(spinners) {
        let due = 6_000 / period * runtime;
        assert!((after - before).abs_diff(due) <= runtime, "{} ms of {due}", after - before);
    }
}

#[test]
fn a_deadline_thread_that_nobody_else_disturbs_runs_on_without_debt() {
    for timer in TIMERS {
        for before in [30, 3_000] {
            let mut laboratory = one_cpu(timer);
            let thread = start(&mut laboratory, deadline(ms(5), ms(50)), Program::SPIN);
            let alone = runs_in(&mut laboratory, thread, ms(before));
            assert_eq!(alone, before as f64);
            laboratory.start_here(NORMAL, Program::SPIN);
            laboratory.run(ms(100));
            let ran = runs_in(&mut laboratory, thread, ms(1_000));
            assert!((95.0..=105.0).contains(&ran), "{timer:?}: {ran} ms after {before} ms alone");
        }
    }
}

#[test]
fn a_deadline_thread_without_budget_is_found_again_when_the_others_sleep() {
    let mut laboratory = one_cpu(Timer::Periodic);
    let thread = start(&mut laboratory, deadline(ms(5), ms(50)), Program::SPIN);
    laboratory.start_here(NORMAL, Program::periodic(30_000, 5_000));
    laboratory.run(ms(200));
    let ran = runs_in(&mut laboratory, thread, ms(5_000));
    assert!(ran >= 490.0, "{ran} ms of 500");
}

#[test]
fn a_deadline_thread_that_yields_waits_for_its_next_period_also_on_an_idle_cpu() {
    for others in [false, true] {
        let mut laboratory = one_cpu(Timer::OneShot);
        let job = Program { burst: ms(2), then: Then::Yield };
        let thread = start(&mut laboratory, deadline(ms(10), ms(50)), job);
        if others {
            laboratory.start_here(NORMAL, Program::SPIN);
        }
        laboratory.run(ms(100));
        let ran = runs_in(&mut laboratory, thread, ms(5_000));
        assert!((ran - 200.0).abs() <= 2.0, "{ran} ms in 100 periods, others: {others}");
    }
}

#[test]
fn a_deadline_thread_that_wakes_early_does_not_exceed_its_bandwidth() {
    let mut laboratory = one_cpu(Timer::OneShot);
    let thread = start(&mut laboratory, deadline(ms(10), ms(50)), Program::periodic(3_000, 4_000));
    laboratory.start_here(NORMAL, Program::SPIN);
    laboratory.run(ms(100));
    let ran = runs_in(&mut laboratory, thread, ms(5_000));
    assert!(ran <= 1_010.0, "{ran} ms of at most 1000");
}

#[test]
fn a_cpu_admits_up_to_95_percent_and_gives_it_back_on_exit_and_on_change() {
    let mut laboratory = Laboratory::new(2, Config { balancer: &NONE, ..Config::default() });
    let threads = [0; 4].map(|_| laboratory.start(NORMAL, CpuSet::ALL, Program::SPIN));
    let half = deadline(ms(50), ms(100));
    let booked = |laboratory: &Laboratory| [A, B].map(|cpu| laboratory.core.booked_bandwidth(cpu));
    assert_eq!(set(&mut laboratory, threads[0], half), Ok(()));
    assert_eq!(set(&mut laboratory, threads[1], half), Ok(()));
    assert_eq!(booked(&laboratory), [Reservation::WHOLE / 2; 2]);
    // Neither CPU has a half of 95 % left; a refusal changes nothing.
    assert_eq!(set(&mut laboratory, threads[2], half), Err(NoBandwidth));
    assert_eq!(laboratory.thread(threads[2]).policy(), NORMAL);
    assert_eq!(set(&mut laboratory, threads[0], deadline(ms(96), ms(100))), Err(NoBandwidth));
    assert_eq!(laboratory.thread(threads[0]).policy(), half);
    assert_eq!(booked(&laboratory), [Reservation::WHOLE / 2; 2]);
    // What a thread has already does not count against it.
    assert_eq!(set(&mut laboratory, threads[0], deadline(ms(90), ms(100))), Ok(()));
    assert_eq!(set(&mut laboratory, threads[0], NORMAL), Ok(()));
    assert_eq!(set(&mut laboratory, threads[2], half), Ok(()));
    laboratory.set_program(threads[1], Program { burst: us(1), then: Then::Exit });
    laboratory.set_program(threads[2], Program { burst: us(1), then: Then::Exit });
    laboratory.run(ms(200));
    assert_eq!(booked(&laboratory), [0, 0]);
    assert_eq!(set(&mut laboratory, threads[3], deadline(ms(95), ms(100))), Ok(()));
    // Only where it may run.
    let pinned = laboratory.start(NORMAL, CpuSet::of(laboratory.thread(threads[3]).cpu()), Program::SPIN);
    assert_eq!(set(&mut laboratory, pinned, deadline(ms(1), ms(100))), Err(NoBandwidth));
    // Nor does one that has ended book anything.
    let _ = set(&mut laboratory, threads[1], half);
    assert!(booked(&laboratory).contains(&0));
}

#[test]
fn deadline_threads_run_where_they_have_booked_and_move_when_that_cpu_goes_offline() {
    let mut laboratory = Laboratory::new(2, Config { balancer: &IDLE_STEAL, ..Config::default() });
    let threads = [0; 2].map(|_| laboratory.start(NORMAL, CpuSet::ALL, Program::SPIN));
    laboratory.run(ms(100));
    for index in threads {
        set(&mut laboratory, index, deadline(ms(40), ms(100))).unwrap();
    }
    laboratory.run(ms(100));
    // Both fit on the first CPU.
    assert_eq!(threads.map(|index| laboratory.thread(index).cpu()), [A, A]);
    laboratory.core.take_offline(A, B);
    laboratory.act();
    laboratory.run(ms(500));
    assert_eq!(threads.map(|index| laboratory.thread(index).cpu()), [B, B]);
    assert_eq!(laboratory.core.booked_bandwidth(A), 0);
    let before = laboratory.ran(threads[0]);
    laboratory.start(NORMAL, CpuSet::of(B), Program::SPIN);
    laboratory.run(ms(1_000));
    assert!((laboratory.ran(threads[0]) - before).as_millis() >= 380);
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        3 => (-20i8..=19).prop_map(Policy::normal),
        1 => Just(Policy::Idle),
        1 => (1u8..=99).prop_map(fifo),
        1 => (1u8..=99).prop_map(round_robin),
        2 => (1u64..20, 20u64..100).prop_map(|(runtime, period)| deadline(ms(runtime), ms(period))),
    ]
}

fn program() -> impl Strategy<Value = Program> {
    prop_oneof![
        Just(Program::SPIN),
        (10u64..20_000, 10u64..20_000).prop_map(|(burst, sleep)| Program::periodic(burst, sleep)),
        (10u64..20_000).prop_map(|burst| Program { burst: us(burst), then: Then::Yield }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Threads of all kinds on three CPUs, of which one comes and goes, while policies, affinities and orders change. In the
    /// end all are normal again, all end, and nothing is booked.
    #[test]
    fn policies_change_under_running_waiting_and_sleeping_threads_and_nobody_is_lost(
        order in select(order::orders()),
        other in select(order::orders()),
        timer in select(&TIMERS[..]),
        threads in proptest::collection::vec((policy(), program()), 1..8),
        changes in proptest::collection::vec((0usize..8, policy(), 0u64..30_000, 0usize..6), 1..40),
    ) {
        let config = Config { order, timer, balancer: &TWO_CHOICES, ..Config::default() };
        let mut laboratory = Laboratory::new(3, config);
        let cpus: CpuSet = CpuId::first(3).collect();
        for (policy, program) in &threads {
            let index = laboratory.start(NORMAL, cpus, *program);
            let _ = set(&mut laboratory, index, *policy);
        }
        for (index, policy, pause, act) in changes {
            laboratory.run(us(pause));
            let index = index % threads.len();
            let thread = laboratory.thread(index).clone();
            match act {
                0 => laboratory.core.set_affinity(&thread, CpuSet::of(CpuId(index as u32 % 3)), A),
                1 => laboratory.core.set_affinity(&thread, cpus, A),
                2 => drop(laboratory.core.set_order(other, A)),
                3 if laboratory.core.machine().is_online(CpuId(2)) => laboratory.core.take_offline(CpuId(2), A),
                3 => laboratory.back_online(CpuId(2)),
                _ => drop(laboratory.core.set_policy(&thread, policy, A)),
            }
            laboratory.act();
        }
        for index in 0..threads.len() {
            set(&mut laboratory, index, NORMAL).unwrap();
            let thread = laboratory.thread(index).clone();
            laboratory.core.set_affinity(&thread, cpus, A);
            laboratory.set_program(index, Program { burst: ms(1), then: Then::Exit });
            laboratory.wake(index);
        }
        laboratory.run(ms(2_000));
        for index in 0..threads.len() {
            prop_assert!(laboratory.thread(index).is_dead(), "thread {index} was lost");
        }
        prop_assert_eq!(CpuId::first(3).map(|cpu| laboratory.core.booked_bandwidth(cpu)).sum::<u64>(), 0);
        prop_assert_eq!(CpuId::first(3).map(|cpu| laboratory.core.machine().load(cpu)).sum::<u32>(), 0);
        prop_assert_eq!(CpuId::first(3).map(|cpu| laboratory.core.machine().weight(cpu)).sum::<u64>(), 0);
    }

    /// Any set of reservations that a CPU admits is met, while others wait: to the last period, which may not be over.
    #[test]
    fn whatever_a_cpu_admits_is_met(
        wanted in proptest::collection::vec((1u64..40, 2u64..10, 2u64..80), 1..6),
        timer in select(&TIMERS[..]),
    ) {
        let mut laboratory = one_cpu(timer);
        let threads: Vec<_> = wanted.iter().map(|_| laboratory.start_here(NORMAL, Program::SPIN)).collect();
        laboratory.start_here(NORMAL, Program::SPIN);
        laboratory.run(ms(300));
        let mut admitted = Vec::new();
        for (index, (runtime, factor, more)) in threads.into_iter().zip(wanted) {
            let deadline = runtime * factor;
            let period = deadline + more;
            let reservation = Reservation { runtime: ms(runtime), deadline: ms(deadline), period: ms(period) };
            if set(&mut laboratory, index, Policy::Deadline(reservation)).is_ok() {
                admitted.push((index, runtime, period));
            }
        }
        laboratory.run(ms(1_000));
        let before: Vec<_> = admitted.iter().map(|(index, ..)| laboratory.ran(*index).as_millis()).collect();
        laboratory.run(ms(20_000));
        for ((index, runtime, period), before) in admitted.into_iter().zip(before) {
            let (ran, due) = (laboratory.ran(index).as_millis() - before, 20_000 * runtime / period);
            prop_assert!(ran + runtime + 1 >= due && ran <= due + runtime + 1, "{ran} ms of {due}");
        }
    }
}

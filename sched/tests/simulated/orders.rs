//! What each order promises of shares and delays, on one CPU unless said otherwise.

use crate::laboratory::{Laboratory, Program, Then, ms, us};
use proptest::prelude::*;
use proptest::sample::select;
use sched::balance::{IDLE_STEAL, NONE};
use sched::order::{CFS, EEVDF, Entry, LOTTERY, ROUND_ROBIN, STRIDE};
use sched::{Config, CpuId, CpuSet, Duration, Policy, Share, Timer, order};

/// Those that honour weights to the tick.
const PROPORTIONAL: [&Entry; 3] = [&EEVDF, &STRIDE, &CFS];

fn laboratory(order: &'static Entry, timer: Timer) -> Laboratory {
    Laboratory::new(1, Config { order, timer, balancer: &NONE, ..Config::default() })
}

fn spin(laboratory: &mut Laboratory, nice: i8) -> usize {
    laboratory.start_here(Policy::normal(nice), Program::SPIN)
}

/// How long each of `threads` runs in the next `time`, in nanoseconds.
fn runs_in(laboratory: &mut Laboratory, threads: &[usize], time: Duration) -> Vec<f64> {
    let ran = |laboratory: &Laboratory| -> Vec<u64> {
        threads.iter().map(|index| laboratory.ran(*index).as_ticks()).collect()
    };
    let before = ran(laboratory);
    laboratory.run(time);
    ran(laboratory).iter().zip(before).map(|(after, before)| (after - before) as f64).collect()
}

/// What they should have had of what they had together.
fn due(nices: &[i8], ran: &[f64]) -> Vec<f64> {
    let weights: Vec<f64> = nices.iter().map(|nice| f64::from(Policy::normal(*nice).weight())).collect();
    let (all, total) = (weights.iter().sum::<f64>(), ran.iter().sum::<f64>());
    weights.iter().map(|weight| total * weight / all).collect()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn weights_are_honoured_within_one_percent(
        order in select(&PROPORTIONAL[..]),
        timer in select(&[Timer::Periodic, Timer::OneShot]),
        nices in proptest::collection::vec(-10i8..=10, 2..6),
    ) {
        let mut laboratory = laboratory(order, timer);
        let threads: Vec<_> = nices.iter().map(|nice| spin(&mut laboratory, *nice)).collect();
        laboratory.run(ms(1_000));
        let ran = runs_in(&mut laboratory, &threads, ms(300_000));
        // Time is given by the quantum: one at either end of what is looked at may be had early or late.
        let quantum = Config::default().quantum.as_ticks() as f64;
        for ((ran, due), nice) in ran.iter().zip(due(&nices, &ran)).zip(&nices) {
            let bound = (due * 0.01).max(2.0 * quantum + 1.0);
            prop_assert!((ran - due).abs() < bound, "{}: nice {nice} ran {ran} ns of {due}", order.name);
        }
    }

    #[test]
    fn a_lottery_honours_weights_within_the_bounds_of_chance(
        nices in proptest::collection::vec(-5i8..=5, 2..6),
        seed in any::<u64>(),
    ) {
        let config = Config { order: &LOTTERY, balancer: &NONE, seed, ..Config::default() };
        let mut laboratory = Laboratory::new(1, config);
        let threads: Vec<_> = nices.iter().map(|nice| spin(&mut laboratory, *nice)).collect();
        laboratory.run(ms(1_000));
        let ran = runs_in(&mut laboratory, &threads, ms(100_000));
        let quanta = 10_000.0;
        for (ran, due) in ran.iter().zip(due(&nices, &ran)) {
            let share = due / ran.max(1.0) * ran / 100e9;
            let deviation = (quanta * share * (1.0 - share)).sqrt();
            let off = (ran - due) / 1e7 / deviation;
            prop_assert!(off.abs() < 5.0, "{off} standard deviations off");
        }
    }

    /// Threads of all kinds, with moderate weights: whoever computes without end goes on doing so.
    #[test]
    fn nobody_starves(
        order in select(order::orders()).prop_filter("takes turns", |order| order.preemptive),
        timer in select(&[Timer::Periodic, Timer::OneShot]),
        spinners in proptest::collection::vec(-5i8..=5, 1..5),
        others in proptest::collection::vec((-5i8..=5, 10u64..20_000, 0u64..20_000), 0..5),
    ) {
        let mut laboratory = laboratory(order, timer);
        for (nice, burst, sleep) in others {
            let then = if sleep < 1_000 { Then::Yield } else { Then::Sleep(us(sleep)) };
            laboratory.start_here(Policy::normal(nice), Program { burst: us(burst), then });
        }
        let threads: Vec<_> = spinners.iter().map(|nice| spin(&mut laboratory, *nice)).collect();
        laboratory.run(ms(2_000));
        for _ in 0..5 {
            for ran in runs_in(&mut laboratory, &threads, ms(20_000)) {
                prop_assert!(ran > 0.0, "{}: it stands still", order.name);
            }
        }
    }

    /// Under virtual time, and where blocking early is compensated.
    #[test]
    fn to_sleep_often_brings_no_more_than_the_share(
        order in select(&PROPORTIONAL[..]),
        burst in 100u64..9_000,
        sleep in 10u64..3_000,
    ) {
        let mut laboratory = laboratory(order, Timer::OneShot);
        let sleeper = laboratory.start_here(Policy::normal(0), Program::periodic(burst, sleep));
        let spinner = spin(&mut laboratory, 0);
        let ran = runs_in(&mut laboratory, &[sleeper, spinner], ms(20_000));
        prop_assert!(ran[0] <= ran[1] * 1.02, "{}: {} ns against {}", order.name, ran[0], ran[1]);
    }

    /// Each order after each other one, in the middle of everything: who computes goes on, by the new order's shares.
    #[test]
    fn a_swap_of_orders_loses_nobody_and_the_new_one_is_fair(
        first in select(order::orders()),
        second in select(&PROPORTIONAL[..]),
        timer in select(&[Timer::Periodic, Timer::OneShot]),
        nices in proptest::collection::vec(-5i8..=5, 2..5),
        moments in proptest::collection::vec(1u64..200_000, 1..4),
    ) {
        let mut laboratory = laboratory(first, timer);
        let sleeper = laboratory.start_here(Policy::normal(0), Program::periodic(300, 9_000));
        let threads: Vec<_> = nices.iter().map(|nice| spin(&mut laboratory, *nice)).collect();
        for (swap, moment) in moments.iter().enumerate() {
            laboratory.run(us(*moment));
            let next = if swap % 2 == 0 { second } else { first };
            laboratory.core.set_order(next, CpuId::BOOT).unwrap();
            laboratory.act();
        }
        laboratory.core.set_order(second, CpuId::BOOT).unwrap();
        laboratory.act();
        laboratory.run(ms(1_000));
        let slept = laboratory.thread(sleeper).stats().dispatches();
        let ran = runs_in(&mut laboratory, &threads, ms(100_000));
        for (ran, due) in ran.iter().zip(due(&nices, &ran)) {
            prop_assert!((ran / due - 1.0).abs() < 0.02, "{} to {}: {ran} ns of {due}", first.name, second.name);
        }
        prop_assert!(laboratory.thread(sleeper).stats().dispatches() > slept + 100, "the sleeper was lost");
    }
}

#[test]
fn every_order_takes_over_from_every_other() {
    for first in order::orders() {
        for second in order::orders() {
            let mut laboratory =
                Laboratory::new(2, Config { order: first, balancer: &IDLE_STEAL, ..Config::default() });
            let yielding = Program { burst: us(700), then: Then::Yield };
            let sleeping = Program::periodic(500, 2_000);
            let programs = [[yielding; 8].as_slice(), &[sleeping]].concat();
            let threads: Vec<_> = programs
                .into_iter()
                .map(|program| laboratory.start(Policy::normal(0), CpuSet::ALL, program))
                .collect();
            for order in [second, first, second] {
                laboratory.run(us(17_300));
                laboratory.core.set_order(order, CpuId::BOOT).unwrap();
                laboratory.act();
            }
            let ran = runs_in(&mut laboratory, &threads, ms(5_000));
            assert!(ran.iter().all(|ran| *ran > 0.0), "{} to {}: {ran:?}", first.name, second.name);
            for index in threads {
                laboratory.set_program(index, Program { burst: us(10), then: Then::Exit });
            }
            laboratory.run(ms(10_000));
            assert!(
                (0..9).all(|index| laboratory.thread(index).is_dead()),
                "{} to {}",
                first.name,
                second.name
            );
        }
    }
}

/// A thread that asks for slices of so many milliseconds.
fn asks(slice: u64) -> Policy {
    Policy::Normal(Share { nice: 0, slice: Some(ms(slice)) })
}

fn eevdf_with_short_ticks() -> Laboratory {
    let (tick, quantum) = (ms(1), ms(10));
    Laboratory::new(1, Config { order: &EEVDF, balancer: &NONE, tick, quantum, ..Config::default() })
}

#[test]
fn a_shorter_slice_is_served_sooner() {
    let mut laboratory = eevdf_with_short_ticks();
    let [short, long] =
        [1, 20].map(|slice| laboratory.start_here(asks(slice), Program::periodic(500, 7_300)));
    let _others = [0; 3].map(|nice| spin(&mut laboratory, nice));
    laboratory.run(ms(60_000));
    let delay = |index: usize| {
        let stats = laboratory.thread(index).stats();
        stats.run_delay().as_ticks() / stats.dispatches()
    };
    assert!(delay(short) < delay(long) / 2, "{} ns and {} ns", delay(short), delay(long));
}

#[test]
fn a_shorter_slice_brings_no_more_time() {
    let mut laboratory = eevdf_with_short_ticks();
    let threads = [1, 10, 20].map(|slice| laboratory.start_here(asks(slice), Program::SPIN));
    laboratory.run(ms(1_000));
    let ran = runs_in(&mut laboratory, &threads, ms(60_000));
    assert!(ran.iter().all(|other| (other / ran[0] - 1.0).abs() < 0.01), "{ran:?}");
}

/// Three threads compute on one CPU while it is asked again and again, for nothing, whether it should reschedule.
#[test]
fn a_request_is_served_to_its_end_however_often_the_cpu_is_asked() {
    for order in order::orders().iter().filter(|order| order.preemptive) {
        let mut laboratory = laboratory(order, Timer::Periodic);
        let _three = [0; 3].map(|nice| spin(&mut laboratory, nice));
        laboratory.run(ms(100));
        let switches = laboratory.core.cpu_stats(CpuId::BOOT).switches;
        for _ in 0..10_000 {
            laboratory.run(us(100));
            laboratory.core.request_reschedule(CpuId::BOOT);
            laboratory.act();
        }
        let switches = laboratory.core.cpu_stats(CpuId::BOOT).switches - switches;
        assert!(switches <= 101, "{}: {switches} switches in a second of 100 ticks", order.name);
    }
}

#[test]
fn fork_and_exit_leave_the_shares_of_the_others_alone() {
    for order in PROPORTIONAL {
        let mut laboratory = laboratory(order, Timer::Periodic);
        let threads = [0, 5].map(|nice| spin(&mut laboratory, nice));
        laboratory.run(ms(1_000));
        let mut all = [0.0, 0.0];
        for _ in 0..2_000 {
            laboratory.start_here(Policy::normal(0), Program { burst: ms(3), then: Then::Exit });
            let ran = runs_in(&mut laboratory, &threads, ms(25));
            all = [all[0] + ran[0], all[1] + ran[1]];
        }
        let due = due(&[0, 5], &all);
        assert!((all[0] / due[0] - 1.0).abs() < 0.03, "{}: {all:?} of {due:?}", order.name);
    }
}

#[test]
fn a_change_of_the_nice_value_counts_at_once_for_threads_that_run_wait_and_sleep() {
    for order in PROPORTIONAL {
        for victim in 0..3 {
            let mut laboratory = laboratory(order, Timer::Periodic);
            let threads = [0, 0, 0].map(|nice| spin(&mut laboratory, nice));
            laboratory.run(ms(1_003));
            let waits = (0..3).filter(|index| laboratory.running(CpuId::BOOT) != Some(*index)).nth(victim);
            let index = waits.unwrap_or_else(|| laboratory.running(CpuId::BOOT).unwrap());
            let thread = laboratory.thread(index).clone();
            laboratory.core.set_policy(&thread, Policy::normal(5), CpuId::BOOT).unwrap();
            laboratory.act();
            let ran = runs_in(&mut laboratory, &threads, ms(60_000));
            let nices = [0, 1, 2].map(|other| if other == index { 5 } else { 0 });
            for (ran, due) in ran.iter().zip(due(&nices, &ran)) {
                assert!((ran / due - 1.0).abs() < 0.01, "{}: {ran} ns of {due}", order.name);
            }
        }
    }
}

/// Against many others, so that it matters little that one of them has the CPU for sure while it sleeps.
#[test]
fn a_lottery_compensates_who_blocks_early_until_its_next_quantum_and_no_longer() {
    let mut laboratory = laboratory(&LOTTERY, Timer::OneShot);
    let blocks = laboratory.start_here(Policy::normal(0), Program::periodic(2_500, 10));
    let _others = [0; 40].map(|nice| spin(&mut laboratory, nice));
    let due = 50_000e6 / 41.0;
    let part = runs_in(&mut laboratory, &[blocks], ms(50_000))[0] / due;
    assert!(
        (0.6..1.4).contains(&part),
        "it blocks after a quarter of its quantum, and has {part} of its share"
    );
    laboratory.set_program(blocks, Program::SPIN);
    laboratory.run(ms(1_000));
    let part = runs_in(&mut laboratory, &[blocks], ms(50_000))[0] / due;
    assert!((0.6..1.4).contains(&part), "it blocks no more, and has {part} of its share");
}

#[test]
fn round_robin_gives_every_thread_the_same() {
    let mut laboratory = laboratory(&ROUND_ROBIN, Timer::Periodic);
    let threads = [-5, 0, 5].map(|nice| spin(&mut laboratory, nice));
    laboratory.run(ms(1_000));
    let ran = runs_in(&mut laboratory, &threads, ms(30_000));
    assert!(ran.iter().all(|ran| (ran / 10e9 - 1.0).abs() < 0.01), "{ran:?}");
}

//! Random sequences of everything that can happen, for every order and balancer.

use crate::machine::{Check, Machine, RAN, STUCK};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use sched::{Config, CpuId, CpuSet, Progress, ThreadId, Timer, Topology, balance, order};

const CPUS: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Spawn(CpuId, CpuSet),
    Tick(CpuId, Progress),
    Yield(CpuId),
    Sleep(CpuId),
    SleepWoken(CpuId, CpuId),
    SleepCancelled(CpuId),
    Exit(CpuId),
    Exec(CpuId),
    Wake(ThreadId, CpuId),
    Affinity(ThreadId, CpuSet, CpuId),
    /// The CPU acts on what it was called for.
    GoOn(CpuId),
    Finish(CpuId),
    Settle,
    Offline,
}

fn cpu() -> impl Strategy<Value = CpuId> {
    (0..CPUS).prop_map(CpuId)
}

fn thread() -> impl Strategy<Value = ThreadId> {
    (0..20u32).prop_map(ThreadId)
}

/// Never empty; half of the time all CPUs.
fn affinity() -> impl Strategy<Value = CpuSet> {
    prop_oneof![
        Just(CpuId::first(CPUS as usize).collect()),
        (1..1u64 << CPUS).prop_map(|bits| CpuSet::from_words([bits])),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let progress = prop_oneof![3 => Just(RAN), 1 => Just(STUCK), 1 => Just(Progress::Kernel)];
    prop_oneof![
        4 => (cpu(), affinity()).prop_map(|(cpu, set)| Op::Spawn(cpu, set)),
        6 => (cpu(), progress).prop_map(|(cpu, progress)| Op::Tick(cpu, progress)),
        2 => cpu().prop_map(Op::Yield),
        4 => cpu().prop_map(Op::Sleep),
        1 => (cpu(), cpu()).prop_map(|(cpu, waker)| Op::SleepWoken(cpu, waker)),
        1 => cpu().prop_map(Op::SleepCancelled),
        2 => cpu().prop_map(Op::Exit),
        2 => cpu().prop_map(Op::Exec),
        6 => (thread(), cpu()).prop_map(|(id, cpu)| Op::Wake(id, cpu)),
        3 => (thread(), affinity(), cpu()).prop_map(|(id, set, cpu)| Op::Affinity(id, set, cpu)),
        12 => cpu().prop_map(Op::GoOn),
        6 => cpu().prop_map(Op::Finish),
        1 => Just(Op::Settle),
        1 => Just(Op::Offline),
    ]
}

/// Carries out `ops`. [`Op::Offline`] takes the last CPU offline, or online again.
fn play(machine: &mut Machine, ops: &[Op]) -> Check {
    let cpus = machine.cpu_ids().len() as u32;
    let last = CpuId(cpus - 1);
    let on = |cpu: CpuId| CpuId(cpu.0 % cpus);
    for op in ops {
        match *op {
            Op::Spawn(cpu, set) => machine.spawn(on(cpu), set).map(drop),
            Op::Tick(cpu, progress) => machine.tick(on(cpu), progress).map(drop),
            Op::Yield(cpu) => machine.give_way(on(cpu)),
            Op::Sleep(cpu) => machine.sleep(on(cpu)),
            Op::SleepWoken(cpu, waker) => machine.sleep_woken(on(cpu), on(waker)),
            Op::SleepCancelled(cpu) => machine.sleep_cancelled(on(cpu)),
            Op::Exit(cpu) => machine.exit(on(cpu)),
            Op::Exec(cpu) => machine.exec(on(cpu)),
            Op::Wake(id, cpu) => machine.wake(id, on(cpu)),
            Op::Affinity(id, set, cpu) => machine.set_affinity(id, set, on(cpu)),
            Op::GoOn(cpu) => machine.go_on(on(cpu)),
            Op::Finish(cpu) => machine.finish(on(cpu)),
            Op::Settle => machine.settle(),
            Op::Offline if last == CpuId::BOOT => Ok(()),
            Op::Offline if machine.core.machine().is_online(last) => machine.offline(last, CpuId::BOOT),
            Op::Offline => machine.online(last, CpuId::BOOT),
        }
        .map_err(|broken| format!("{op:?}: {broken}"))?;
    }
    machine.settle()?;
    machine.drain()
}

fn holds(topology: Topology, config: Config, ops: &[Op]) -> Check {
    let mut machine = Machine::new(topology, config);
    play(&mut machine, ops)?;
    match machine.repairs() {
        0 => machine.all_memory_comes_back(),
        repairs => Err(format!("{repairs} proposals had to be repaired")),
    }
}

/// A scenario of the conformance suite: always the same random sequences.
pub fn whatever_happens(topology: Topology, config: Config) -> Check {
    let runner = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(runner, rng)
        .run(&proptest::collection::vec(op(), 0..120), |ops| {
            holds(topology.clone(), config, &ops).map_err(TestCaseError::fail)
        })
        .map_err(|failure| failure.to_string())
}

/// One random sequence, which the seed determines.
pub fn one_run(topology: Topology, config: Config, seed: u64) -> Check {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let ops =
        proptest::collection::vec(op(), 60..300).new_tree(&mut runner).map_err(|why| why.to_string())?;
    holds(topology, config, &ops.current())
}

proptest! {
    // More with the environment variable PROPTEST_CASES.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_thread_is_in_one_place_and_comes_to_its_end(
        ops in proptest::collection::vec(op(), 0..120),
        order in select(order::orders()),
        balancer in select(balance::balancers()),
        timer in select(&[Timer::Periodic, Timer::OneShot]),
        first_run in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let config = Config { order, balancer, first_run, timer, seed, ..Config::default() };
        if let Err(broken) = holds(Topology::regular(1, CPUS, 1), config, &ops) {
            prop_assert!(false, "{}", broken);
        }
    }
}

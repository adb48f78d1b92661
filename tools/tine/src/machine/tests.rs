//! Tests of whole runs, with a shell script in QEMU's place.

use super::*;
use crate::figures::tests::events;
use crate::setup::qemu;
use std::collections::BTreeMap;
use std::path::PathBuf;

const PASS: &str = r#"echo '{"event":"accounting","before":{"frames":1,"threads":1,"processes":1,"file_descriptions":1},
    "after":{"frames":1,"threads":1,"processes":1,"file_descriptions":1}}' | tr -d '\n' >&4; echo >&4
    echo '{"event":"exit","how":"exited","status":0}' >&4"#;

/// A machine whose QEMU is this script.
fn prepared(script: &str, qemu: &fake::Qemu) -> Prepared {
    let plan = Plan {
        config_name: DEFAULT_CONFIG.into(),
        config: Config { limits: config::Limits { boot_s: 1, run_s: 2 }, ..Config::default() },
        profile: Profile::Release,
        seed: 7,
        program: "hello".into(),
        arguments: Vec::new(),
        trace: None,
        input: None,
        changes: Vec::new(),
    };
    let none = PathBuf::from("/dev/null");
    let guest = Guest {
        loader: none.clone(),
        kernel: none.clone(),
        initramfs: none,
        programs: BTreeMap::new(),
        compiler: "rustc".into(),
    };
    let choice = Choice { accelerator: Accelerator::TcgMulti, reason: script.len().to_string() };
    Prepared { plan, qemu: qemu.qemu(), guest, choice }
}

fn run(script: &str) -> Result<Outcome, Failure> {
    prepared(script, &fake::Qemu::new(script)).run(Ui::Quiet, false)
}

fn failure(script: &str) -> String {
    run(script).expect_err("the machine fails").to_string()
}

/// A record with figures of two CPUs.
pub(crate) fn record() -> Record {
    let mut record = run(&format!("{PASS}; exit 33")).expect("a run").record;
    record.program = figures::SPIN_PROGRAM.into();
    record.events.extend(events());
    record.figures = figures::derive(&record.events, 2.0);
    record
}

#[test]
fn a_run_that_ends_well_passes() {
    let outcome = run(&format!("echo SUCCESS >&3; {PASS}; exit 33")).expect("a run");
    assert!(outcome.passed(), "{:?}", outcome.record.problems());
    assert_eq!((outcome.console.as_str(), outcome.record.ending), ("SUCCESS\n", Ending::Pass));
}

#[test]
fn a_pass_needs_the_exit_event_the_accounting_and_the_status() {
    let problems = |script: &str| run(script).expect("a run").record.problems().join("; ");
    assert!(problems("exit 33").contains("did not say how `hello` ended"));
    assert!(
        problems(r#"echo '{"event":"exit","how":"exited","status":0}' >&4; exit 33"#).contains("accounting")
    );
    assert!(problems(&format!("{PASS}; exit 37")).contains("KernelFailure"));
    let leak = PASS.replacen("\"frames\":1", "\"frames\":2", 1);
    assert!(problems(&format!("{leak}; exit 33")).contains("2 frames were in use before and 1 after"));
    let killed = PASS.replace("exited\",\"status\":0", "killed\",\"signal\":11");
    assert!(problems(&format!("{killed}; exit 35")).contains("`hello` was killed by signal 11"));
    let livelock = r#"echo '{"event":"failure","kind":"livelock","cpu":1,"message":"thread 5"}' >&4"#;
    assert!(problems(&format!("{livelock}; {PASS}; exit 37")).contains("a livelock on CPU 1: thread 5"));
}

#[test]
fn a_pass_of_the_stress_needs_its_own_word() {
    let mut record = record();
    assert_eq!(record.problems(), Vec::<String>::new());
    record.figures.spin.as_mut().expect("figures").ok = false;
    assert!(record.problems()[0].contains("did not report that all its checks passed"));
}

#[test]
fn a_reset_is_told_from_an_end() {
    let said = failure("echo booting >&3; exit 0");
    assert!(said.contains("triple fault") && said.contains("| booting"), "{said}");
    assert!(said.ends_with("cargo run -- run --seed 7 -- hello"), "{said}");
}

#[test]
fn what_qemu_complains_about_is_passed_on() {
    let said = failure("echo 'qemu: no such machine' >&2; exit 1");
    assert!(said.contains("status 1") && said.contains("no such machine"), "{said}");
    assert!(failure("kill -SEGV $$").contains("signal 11"));
}

#[test]
fn silence_and_lateness_have_words_of_their_own() {
    assert!(failure("sleep 50").contains("wrote nothing for 1 s"));
    assert!(failure("echo alive >&3; sleep 50").contains("had not ended after 2 s"));
}

#[test]
fn a_qemu_that_is_gone_is_a_sentence() {
    let qemu = fake::Qemu::new("");
    let mut prepared = prepared("", &qemu);
    prepared.qemu = qemu::Qemu::fake("/nonexistent/qemu".into());
    let said = prepared.run(Ui::Quiet, false).expect_err("no QEMU").to_string();
    assert!(said.contains("could not be started") && said.contains("doctor"), "{said}");
}

#[test]
fn a_record_survives_being_written() {
    let text = serde_json::to_string(&record()).expect("written");
    let back: Record = serde_json::from_str(&text).expect("read");
    assert_eq!(serde_json::to_string(&back).expect("written again"), text);
}

#[test]
fn changes_apply_in_order_and_can_be_asked_for_again() {
    let workspace = Workspace::find().expect("the tree");
    let machine =
        machine().smp(2).hz(10).append("a=1").append("b=2").seed(9).program("/bin/hello").args(["x"]);
    let plan = machine.oneshot().plan(&workspace).expect("a plan");
    assert_eq!(
        (plan.config.cpus, plan.config.hz, plan.config.append.as_str()),
        (2, Tick::OneShot, "a=1 b=2")
    );
    assert_eq!(
        plan.reproduce(),
        "cargo run -- run --smp 2 --hz 10 --append a=1 --append b=2 --hz oneshot --seed 9 -- hello x"
    );
}

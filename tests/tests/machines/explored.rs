//! Interleavings that the seed decides: chaos finds nothing, a planted race is found, and its seed finds it again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::{alone, pass, sequence};
use tine::machine;

#[test]
fn chaos_finds_nothing_in_forks_and_messages() {
    for seed in 1..=6 {
        let machine = machine().virtual_time().balancer("chaos").seed(seed).timeout(Duration::from_secs(300));
        pass(&sequence(
            machine.append("debug.perturb=8 debug.limit=60"),
            [
                "fork_progress_test",
                "fork_spin_stress --millis 2 --solo-millis 5",
                "message_storm",
                "message_storm --threads",
            ],
        ));
    }
}

/// The first word of `text` behind `start`.
#[track_caller]
fn after<'t>(text: &'t str, start: &str) -> &'t str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start:?} in this:\n{text}")).1;
    rest.split_whitespace().next().unwrap_or_default()
}

/// What a user who types this sees; it must fail.
#[track_caller]
fn fails(typed: &str) -> String {
    let cargo = Path::new(env!("CARGO")).parent().unwrap_or(Path::new("/"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    // A directory of the workspace that takes the file with the trace.
    shell.args(["-c", typed]).current_dir(env!("CARGO_TARGET_TMPDIR"));
    shell.env("PATH", format!("{}:{path}", cargo.display()));
    let _alone = alone();
    let output = shell.output().unwrap_or_else(|error| panic!("{typed}: {error}"));
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert_eq!(output.status.code(), Some(1), "{typed}\n{said}");
    said
}

#[test]
fn a_planted_race_is_found_and_its_seed_finds_it_again() {
    let plant = "--planted --balancer chaos --append debug.fail=lost_wakeup --append debug.perturb=2";
    let found = fails(&format!("cargo run -- explore --seeds 60 {plant} -- message_storm --groups 2"));
    assert!(found.contains("the run has not ended 60 s after the boot"), "no wake-up was lost:\n{found}");
    let hash = after(&found, "trace hash ");
    let again = found.lines().find_map(|line| line.strip_prefix("To run it again: ")).expect("a command");
    for _ in 0..2 {
        let replayed = fails(again);
        assert_eq!(after(&replayed, "trace hash "), hash, "{again} does something else:\n{replayed}");
    }
}

/// The kernel is the same, but sleepers announce themselves in time.
#[test]
fn without_the_planted_race_the_same_seeds_pass() {
    for seed in [1, 16] {
        let machine = machine().virtual_time().balancer("chaos").seed(seed).planted();
        let machine = machine.append("debug.perturb=8 debug.limit=60").timeout(Duration::from_secs(300));
        pass(&machine.program("message_storm").args(["--groups", "2"]));
    }
}

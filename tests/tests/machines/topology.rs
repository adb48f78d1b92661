//! The kernel finds sockets, caches, cores, threads and memory nodes where the machine has them.

use formats::record::Place;
use tests::{Require, pass, sequence};
use tine::{Machine, Outcome, machine};

fn places(outcome: &Outcome) -> &[Place] {
    outcome.record.boot().map_or(&[], |boot| &boot.places)
}

#[test]
fn two_sockets_of_two_cores_of_two_threads_are_found_each_a_node() {
    let outcome = pass(&sequence(Machine::named("sockets"), ["true_program"]));
    let expected = (0..8).map(|cpu| {
        let (core, socket) = (cpu / 2, cpu / 4);
        Place { node: socket, socket, cache: socket, core, thread: cpu % 2 }
    });
    outcome.require(expected.eq(places(&outcome).iter().copied()), format!("found {:?}", places(&outcome)));
}

#[test]
fn the_command_line_overrides_what_the_machine_says() {
    let outcome = pass(&sequence(machine().append("topology=2x1x2"), ["true_program"]));
    let expected = (0..4).map(|cpu| {
        let socket = cpu / 2;
        Place { node: socket, socket, cache: socket, core: socket, thread: cpu % 2 }
    });
    outcome.require(expected.eq(places(&outcome).iter().copied()), format!("found {:?}", places(&outcome)));
}

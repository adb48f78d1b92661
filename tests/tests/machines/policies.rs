//! Every order and every balancer that is registered runs the machine.

use tests::{Require, pass};
use tine::machine;

#[test]
fn every_order_with_every_balancer_completes_and_uses_all_cpus() {
    for order in sched::order::orders() {
        for balancer in sched::balance::balancers() {
            let machine = machine().order(order.name).balancer(balancer.name);
            let outcome =
                pass(&machine.program("fork_spin_stress").args(["--millis", "5", "--solo-millis", "20"]));
            let cpus = &outcome.record.scheduler().expect("a run that passed has it").cpus;
            outcome.require(
                !balancer.conserves_work || cpus.iter().all(|cpu| cpu.busy_ns > 0),
                format!("{} leaves a CPU without work", balancer.name),
            );
        }
    }
}

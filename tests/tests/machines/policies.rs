//! Every order and every balancer that is registered runs the machine.

use tests::pass;
use tine::machine;

#[test]
fn every_order_with_every_balancer_lets_all_children_complete() {
    for order in sched::order::orders() {
        for balancer in sched::balance::balancers() {
            let machine = machine().order(order.name).balancer(balancer.name);
            pass(&machine.program("fork_spin_stress").args(["--millis", "5", "--solo-millis", "20"]));
        }
    }
}

//! Nobody starves, whatever others execute.

use tests::pass;
use tine::machine;

#[test]
fn threads_of_one_instruction_starve_nobody() {
    pass(&machine().program("one_instruction"));
}

#[test]
fn threads_of_one_instruction_starve_nobody_at_1000_hz_on_one_cpu() {
    pass(&machine().smp(1).hz(1000).program("one_instruction"));
}

#[test]
fn threads_of_one_instruction_starve_nobody_in_one_shot_mode() {
    pass(&machine().oneshot().program("one_instruction"));
}

//! The time of day can be set, and who waits for a time of day is woken by it.

use std::time::Duration;
use tests::pass;
use tine::machine;

#[test]
fn setting_the_time_of_day_wakes_those_who_wait_for_it() {
    pass(&machine().program("set_time").timeout(Duration::from_secs(120)));
}

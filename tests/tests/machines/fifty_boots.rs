//! What works once works fifty times in a row.

use tests::pass;
use tine::machine;

#[test]
fn fifty_boots_in_a_row_pass() {
    for seed in 1..=50 {
        pass(&machine().seed(seed).program("fork_progress_test"));
    }
}

//! `tine`.
fn main() {}

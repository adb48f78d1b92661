//! The loader.
fn main() {}

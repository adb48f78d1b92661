//! Says hello. The least that a Rust program can do with standard output and its arguments.

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| "world".into());
    println!("Hello, {name}!");
}

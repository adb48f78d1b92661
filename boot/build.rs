//! Links the loader by its own script.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/boot.ld");
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rustc-link-arg-bins=--gc-sections");
    println!("cargo::rustc-link-arg-bins=-zmax-page-size=0x1000");
}

//! Links the kernel by its own script.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/kernel.ld");
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rustc-link-arg-bins=--gc-sections");
    // Pages of 4 KiB are enough: the loader maps the segments, not the file.
    println!("cargo::rustc-link-arg-bins=-zmax-page-size=0x1000");
}

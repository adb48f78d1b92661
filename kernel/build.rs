//! Links the kernel by its own script, and makes the vDSO, which the kernel holds as bytes.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/kernel.ld");
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rustc-link-arg-bins=--gc-sections");
    // Pages of 4 KiB are enough: the loader maps the segments, not the file.
    println!("cargo::rustc-link-arg-bins=-zmax-page-size=0x1000");
    println!("cargo::rustc-env=TINE_VDSO={}", vdso().display());
}

/// Compiles the vDSO by the compiler that makes the kernel, for the same target.
fn vdso() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("vdso");
    println!("cargo::rerun-if-changed={}", source.display());
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("Cargo sets {name}"));
    let image = Path::new(&variable("OUT_DIR")).join("vdso.so");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--crate-name=vdso", "--crate-type=bin", "--edition=2024", "-Copt-level=2", "-Cpanic=abort"]);
    rustc.args(["-Crelocation-model=pic", "-Cforce-unwind-tables=yes", "-Cstrip=symbols"]);
    rustc.arg("--target").arg(variable("TARGET")).arg("-o").arg(&image);
    let script = format!("-T{}", source.join("vdso.ld").display());
    // The target's programs are made to be loaded at any place; this one is besides made to be linked with.
    let link =
        ["-no-pie", "-shared", "-soname=linux-vdso.so.1", "--hash-style=both", "--eh-frame-hdr", &script];
    rustc.args(link.map(|argument| format!("-Clink-arg={argument}")));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    // Where `core` is, if it is not with the compiler.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let mut flags = flags.split('\u{1f}');
    if flags.any(|flag| flag == "--sysroot") {
        rustc.args(flags.next().map(|sysroot| format!("--sysroot={sysroot}")));
    }
    let status = rustc.arg(source.join("main.rs")).status().expect("the compiler can be called");
    assert!(status.success(), "the vDSO cannot be compiled");
    image
}

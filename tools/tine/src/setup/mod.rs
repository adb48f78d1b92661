//! Makes a fresh machine able to build and boot Tine: finds what is there, gets what is missing, or says how to.

pub mod apt;
pub mod compiler;
pub mod libc;
pub mod qemu;
pub mod rust_src;
pub mod sysroot;
pub mod target;

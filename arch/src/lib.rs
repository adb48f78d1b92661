//! x86-64 hardware: what the kernel needs of it, as safe as it can be made.
#![no_std]

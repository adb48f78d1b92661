//! Memory.
#![no_std]

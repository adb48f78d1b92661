//! Typed access to the memory of the current process.
//!
//! Every address that a program hands in is a plain number until it goes through here; a bad one is `EFAULT`. The copies
//! themselves, with their fault fix-up, are `arch::copy`.

use crate::errno::Errno;
use alloc::{string::String, vec, vec::Vec};
use x86_64::VirtAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Longest path or string that a system call takes, terminator included (PATH_MAX, `linux/limits.h`).
pub const PATH_MAX: usize = 4096;

/// An address that a program gave; it may be anything.
fn address(raw: u64) -> Result<VirtAddr, Errno> {
    VirtAddr::try_new(raw).map_err(|_| Errno::EFAULT)
}

/// Reads a value from user memory.
pub fn read<T: FromBytes + IntoBytes>(from: u64) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    read_bytes(from, value.as_mut_bytes())?;
    Ok(value)
}

/// Reads `count` values that lie one after the other. The caller bounds `count`.
pub fn read_array<T: FromBytes + IntoBytes + Clone>(from: u64, count: usize) -> Result<Vec<T>, Errno> {
    let mut values = vec![T::new_zeroed(); count];
    read_bytes(from, values.as_mut_slice().as_mut_bytes())?;
    Ok(values)
}

/// Writes a value to user memory.
pub fn write<T: IntoBytes + Immutable>(to: u64, value: &T) -> Result<(), Errno> {
    write_bytes(to, value.as_bytes())
}

/// Writes a value unless `to` is null.
pub fn write_if_wanted<T: IntoBytes + Immutable>(to: u64, value: &T) -> Result<(), Errno> {
    if to == 0 { Ok(()) } else { write(to, value) }
}

pub fn read_bytes(from: u64, to: &mut [u8]) -> Result<(), Errno> {
    Ok(arch::copy::read_bytes(to, address(from)?)?)
}

pub fn write_bytes(to: u64, from: &[u8]) -> Result<(), Errno> {
    Ok(arch::copy::write_bytes(address(to)?, from)?)
}

/// Fills with zeros.
pub fn zero(to: u64, len: usize) -> Result<(), Errno> {
    Ok(arch::copy::zero(address(to)?, len)?)
}

/// Reads a string that ends with a zero byte, which is not returned.
///
/// `max` counts the terminator; a longer string is `too_long`.
pub fn read_string(from: u64, max: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
    let mut string = Vec::new();
    let mut chunk = [0; 64];
    loop {
        let at = from.checked_add(string.len() as u64).ok_or(Errno::EFAULT)?;
        // Up to the end of an aligned chunk: never touches a page that the string does not reach.
        let len = chunk.len() - at as usize % chunk.len();
        read_bytes(at, &mut chunk[..len])?;
        match chunk[..len].iter().position(|byte| *byte == 0) {
            Some(end) if string.len() + end < max => {
                string.extend_from_slice(&chunk[..end]);
                return Ok(string);
            }
            None if string.len() + len < max => string.extend_from_slice(&chunk[..len]),
            _ => return Err(too_long),
        }
    }
}

/// Reads a path. Paths are bytes on Linux; Tine's files have UTF-8 names, so that another one does not exist.
pub fn read_path(from: u64) -> Result<String, Errno> {
    let bytes = read_string(from, PATH_MAX, Errno::ENAMETOOLONG)?;
    String::from_utf8(bytes).map_err(|_| Errno::ENOENT)
}

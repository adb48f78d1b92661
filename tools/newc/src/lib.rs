//! Reads `newc` cpio archives, the format of Linux's initramfs (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Touches headers and names only. Kept crates that read the format sum up every byte of every file, which made up nine
//! tenths of the time that Tine takes to boot. Neither writes archives nor unpacks compressed ones.
#![no_std]
#![forbid(unsafe_code)]

/// One member of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// As it stands there: possibly with a leading `./` or `/`.
    pub name: &'a str,
    /// Type and permissions (man 7 inode).
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u32,
    pub data: &'a [u8],
}

/// The members of `archive` in order, up to its trailer or to the first thing that is no member.
pub fn members(archive: &[u8]) -> impl Iterator<Item = Member<'_>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let (member, next) = read(archive, at)?;
        at = next;
        Some(member)
    })
    .take_while(|member| member.name != TRAILER)
}

const MAGIC: [&[u8]; 2] = [b"070701", b"070702"];
const TRAILER: &str = "TRAILER!!!";
/// The magic and 13 numbers of 8 hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;

/// The places of numbers in the header.
const MODE: usize = 1;
const MODIFIED: usize = 5;
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;

/// The member at `at`, and where the next one starts.
fn read(archive: &[u8], at: usize) -> Option<(Member<'_>, usize)> {
    let header = archive.get(at..at.checked_add(HEADER)?)?;
    if !MAGIC.contains(&&header[..6]) {
        return None;
    }
    let number = |index: usize| {
        let digits = core::str::from_utf8(&header[6 + 8 * index..][..8]).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let name_at = at + HEADER;
    let name_end = name_at.checked_add(number(NAME_SIZE)? as usize)?;
    let data_at = name_end.checked_next_multiple_of(4)?;
    let data_end = data_at.checked_add(number(FILE_SIZE)? as usize)?;
    let name = archive.get(name_at..name_end)?.strip_suffix(b"\0")?;
    let member = Member {
        name: core::str::from_utf8(name).ok()?,
        mode: number(MODE)?,
        modified: number(MODIFIED)?,
        data: archive.get(data_at..data_end)?,
    };
    Some((member, data_end.checked_next_multiple_of(4)?))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{format, vec::Vec};

    fn push(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
        let numbers = [1, mode, 0, 0, 1, 7, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        archive.extend(b"070701");
        numbers.iter().for_each(|number| archive.extend(format!("{number:08x}").bytes()));
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }

    #[test]
    fn members_come_as_they_were_written_up_to_the_trailer() {
        let mut archive = Vec::new();
        push(&mut archive, "bin", 0o40755, b"");
        push(&mut archive, "./bin/x", 0o100755, b"12345");
        push(&mut archive, TRAILER, 0, b"");
        push(&mut archive, "behind", 0o100644, b"");
        let found: Vec<_> = members(&archive).collect();
        let names: Vec<_> = found.iter().map(|member| (member.name, member.mode, member.data)).collect();
        assert_eq!(names, [("bin", 0o40755, &b""[..]), ("./bin/x", 0o100755, b"12345")]);
        assert_eq!(found[0].modified, 7);
    }

    #[test]
    fn a_damaged_archive_ends_at_the_damage() {
        let mut archive = Vec::new();
        push(&mut archive, "a", 0o100644, b"1");
        let whole = archive.len();
        push(&mut archive, "b", 0o100644, b"2345");
        for len in whole..archive.len() {
            assert_eq!(members(&archive[..len]).count(), 1, "cut off at {len}");
        }
        assert_eq!(members(b"no archive").count(), 0);
    }
}

//! `/proc/PID/maps`: the areas of a process's memory (man 5 proc_pid_maps).

use crate::errno::Errno;
use crate::task::Process;
use alloc::{string::String, vec::Vec};
use core::fmt::Write;
use mm::{AreaInfo, Prot};

/// Where names begin on a line, as on Linux.
const NAME_COLUMN: usize = 73;

pub fn maps(process: &Process) -> Result<Vec<u8>, Errno> {
    let areas = match process.space() {
        Some(space) => space.areas()?,
        None => Vec::new(),
    };
    let mut text = String::new();
    for area in &areas {
        let start = text.len();
        // Writing to a string does not fail.
        let _ = line(&mut text, area);
        if !area.name().is_empty() {
            let width = text.len() - start;
            let _ = write!(text, "{:1$}{2}", "", NAME_COLUMN.saturating_sub(width), area.name());
        }
        text.push('\n');
    }
    Ok(text.into_bytes())
}

/// All but the name. A file is known by the number of its pages' object instead of its inode's.
fn line(text: &mut String, area: &AreaInfo) -> core::fmt::Result {
    let flag = |prot, letter| if area.prot.contains(prot) { letter } else { '-' };
    let (object, offset) = area.object.as_ref().map_or((0, 0), |(object, offset)| (object.id(), *offset));
    write!(
        text,
        "{:08x}-{:08x} {}{}{}{} {offset:08x} 00:{:02x} {object} ",
        area.start,
        area.end,
        flag(Prot::READ, 'r'),
        flag(Prot::WRITE, 'w'),
        flag(Prot::EXEC, 'x'),
        if area.shared { 's' } else { 'p' },
        if area.object.is_some() { 2 } else { 0 },
    )
}

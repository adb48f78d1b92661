//! `/sys`: of Linux's, what tells of CPUs and changes which of them take part
//! (`Documentation/ABI/testing/sysfs-devices-system-cpu`).

mod topology;

use super::directory::{Builder, Directory};
use super::text::{Generate, Text};
use super::{DeviceId, Kind, Metadata};
use crate::cpus::{self, hotplug};
use crate::errno::Errno;
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use formats::{CpuId, CpuSet};

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 22);

/// Which CPUs there are, by `/sys/devices/system/cpu/NAME`.
const SETS: [(&str, Generate); 4] = [
    ("online", || Ok(list(&cpus::online()))),
    ("offline", || {
        let online = cpus::online();
        Ok(list(&hotplug::possible().iter().filter(|cpu| !online.contains(*cpu)).collect()))
    }),
    ("possible", || Ok(list(&hotplug::possible()))),
    ("present", || Ok(list(&hotplug::present()))),
];

pub fn directory() -> Arc<Directory> {
    let mut numbers = 1..;
    let mut next = || numbers.next().unwrap_or_default();
    let mut root = Builder::new(Metadata::new(Kind::Directory, 0o555, next(), FILE_SYSTEM));
    let mut all = &mut root;
    for name in ["devices", "system", "cpu"] {
        all = all.directory(name, Metadata::new(Kind::Directory, 0o755, next(), FILE_SYSTEM));
    }
    for (name, generate) in SETS {
        all.insert(name, Arc::new(Text::new(next(), FILE_SYSTEM, generate)));
    }
    for cpu in hotplug::possible().iter() {
        let metadata = Metadata::new(Kind::Directory, 0o755, next(), FILE_SYSTEM);
        let one = all.directory(&format!("cpu{}", cpu.0), metadata);
        // As on Linux, a CPU that must stay has no such file.
        if hotplug::can_leave(cpu) {
            one.insert("online", Arc::new(online_file(cpu, next())));
        }
    }
    topology::add(&mut root, &mut next);
    root.build()
}

/// 1 while the CPU takes part, else 0; writing one of them makes it so.
fn online_file(cpu: CpuId, number: u64) -> Text<impl Fn() -> Result<Vec<u8>, Errno> + Send + Sync + 'static> {
    Text::new(
        number,
        FILE_SYSTEM,
        move || Ok(format!("{}\n", u8::from(hotplug::is_online(cpu))).into_bytes()),
    )
    .accepting(Box::new(move |word| match word {
        "0" => hotplug::set_online(cpu, false),
        "1" => hotplug::set_online(cpu, true),
        _ => Err(Errno::EINVAL),
    }))
    .settling(Box::new(move |current| hotplug::settle(cpu, current)))
}

/// A line with the set as ranges: `0-2,5`.
pub fn list(set: &CpuSet) -> Vec<u8> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in set.iter() {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu.0 => *last = cpu.0,
            _ => ranges.push((cpu.0, cpu.0)),
        }
    }
    let shown = |(first, last): &(u32, u32)| match first == last {
        true => format!("{first}"),
        false => format!("{first}-{last}"),
    };
    let words: Vec<String> = ranges.iter().map(shown).collect();
    format!("{}\n", words.join(",")).into_bytes()
}

/// The set as hexadecimal digits, in groups of 32 bits.
pub fn mask(set: &CpuSet) -> String {
    let highest = hotplug::possible().iter().map(|cpu| cpu.0).max().unwrap_or(0);
    let word = |at: u32| {
        (0..32).filter(|bit| set.contains(CpuId(at * 32 + bit))).fold(0_u32, |word, bit| word | 1 << bit)
    };
    let words: Vec<String> = (0..=highest / 32).rev().map(|at| format!("{:08x}", word(at))).collect();
    let text = words.join(",");
    if highest >= 32 {
        return text;
    }
    // As on Linux, one group has as many digits as there are CPUs.
    let digits = (highest as usize / 4) + 1;
    String::from(&text[8 - digits..])
}

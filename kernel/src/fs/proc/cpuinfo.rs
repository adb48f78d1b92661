//! `/proc/cpuinfo`: what the processors are (man 5 proc_cpuinfo).

use super::system::Answer;
use crate::cpus;
use alloc::{format, string::String, vec::Vec};
use arch::cpu::describe;
use formats::CpuId;

/// One entry per CPU that takes part.
pub fn cpuinfo() -> Answer {
    let processor = describe::processor();
    let flags: Vec<&str> = processor.flags.clone();
    let flags = flags.join(" ");
    let mhz = processor.khz / 1000;
    let topology = cpus::topology();
    let mut text = String::new();
    for cpu in cpus::online().iter() {
        let place = topology.place(cpu);
        let in_socket = |other: &CpuId| topology.place(*other).socket == place.socket;
        let siblings = topology.all().iter().filter(in_socket).count();
        let mut cores: Vec<u32> =
            topology.all().iter().filter(in_socket).map(|other| topology.place(other).core).collect();
        cores.sort_unstable();
        cores.dedup();
        let core = cores.iter().position(|core| *core == place.core).unwrap_or(0);
        text += &format!(
            "processor\t: {number}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n\
             model name\t: {name}\nstepping\t: {stepping}\nmicrocode\t: 0x1\ncpu MHz\t\t: {mhz}.{fraction:03}\n\
             cache size\t: {cache} KB\nphysical id\t: {socket}\nsiblings\t: {siblings}\ncore id\t\t: {core}\n\
             cpu cores\t: {count}\napicid\t\t: {number}\ninitial apicid\t: {number}\nfpu\t\t: yes\nfpu_exception\t: yes\n\
             cpuid level\t: {level}\nwp\t\t: yes\nflags\t\t: {flags}\nbugs\t\t:\nbogomips\t: {bogomips}.{bogofraction:02}\n\
             clflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: {physical} bits physical, {virtual_} bits virtual\n\
             power management:\n\n",
            number = cpu.0,
            vendor = processor.vendor,
            family = processor.family,
            model = processor.model,
            name = processor.name,
            stepping = processor.stepping,
            fraction = processor.khz % 1000,
            cache = processor.cache_kib,
            socket = place.socket,
            count = cores.len(),
            level = processor.level,
            bogomips = processor.khz / 500,
            bogofraction = processor.khz / 5 % 100,
            physical = processor.address_bits.0,
            virtual_ = processor.address_bits.1,
        );
    }
    Ok(text.into_bytes())
}

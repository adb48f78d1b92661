//! Where a processor is, which its APIC id says: fields of bits for the package, the core and the hardware thread, whose widths
//! CPUID tells. Intel SDM vol. 3, 9.9.3; AMD APM vol. 3, appendix E.4.
//!
//! Asked on the boot CPU: all processors are taken to be alike. Which memory node a processor belongs to, the firmware
//! knows: [`numa`](crate::numa).

use core::fmt;
use raw_cpuid::CpuIdResult;

/// The number by which a local APIC is addressed. Not dense, and beyond 254 only with x2APIC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApicId(pub u32);

impl fmt::Debug for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "APIC {}", self.0)
    }
}

/// Where a processor is. The numbers are unique in the machine and not dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub socket: u32,
    /// The last-level cache that it shares with others.
    pub cache: u32,
    pub core: u32,
    /// The hardware thread within its core.
    pub thread: u32,
}

/// How many of the lowest bits of an APIC id tell apart the hardware threads of a core, what shares a last-level cache, and what
/// is in one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    core_bits: u32,
    cache_bits: u32,
    package_bits: u32,
}

impl Layout {
    /// The layout that this processor reports.
    pub fn detect() -> Self {
        Self::read(&|leaf, subleaf| raw_cpuid::cpuid!(leaf, subleaf))
    }

    fn read(query: &dyn Fn(u32, u32) -> CpuIdResult) -> Self {
        let basic = query(0, 0).eax;
        let extended = query(EXTENDED, 0).eax;
        let topology = |leaf| (basic >= leaf).then(|| extended_topology(query, leaf)).flatten();
        let (core_bits, package_bits) = topology(0x1f)
            .or_else(|| topology(0xb))
            .unwrap_or_else(|| legacy_topology(query, basic, extended));
        let caches = last_level_bits(query, 0x8000_001d, extended)
            .or_else(|| last_level_bits(query, 4, basic))
            .unwrap_or(package_bits);
        // A cache that is said to be shared by more than a package would tell nothing.
        Self { core_bits, cache_bits: caches.clamp(core_bits, package_bits), package_bits }
    }

    pub fn locate(&self, apic: ApicId) -> Location {
        let above = |bits: u32| apic.0.checked_shr(bits).unwrap_or(0);
        let core = above(self.core_bits);
        Location {
            socket: above(self.package_bits),
            cache: above(self.cache_bits),
            core,
            thread: apic.0 - core.checked_shl(self.core_bits).unwrap_or(0),
        }
    }
}

/// The first of the extended leaves, which says how many there are.
const EXTENDED: u32 = 0x8000_0000;

/// Leaf 0x1f or 0xb: the widths of thread and package, if the processor has it.
fn extended_topology(query: &dyn Fn(u32, u32) -> CpuIdResult, leaf: u32) -> Option<(u32, u32)> {
    const MOST_LEVELS: u32 = 8;
    const THREADS: u32 = 1;
    let (mut core_bits, mut package_bits) = (0, None);
    for level in (0..MOST_LEVELS).map(|subleaf| query(leaf, subleaf)) {
        let kind = level.ecx >> 8 & 0xff;
        if kind == 0 || level.ebx & 0xffff == 0 {
            break;
        }
        let bits = level.eax & 0x1f;
        if kind == THREADS {
            core_bits = bits;
        }
        package_bits = Some(bits);
    }
    package_bits.map(|package_bits| (core_bits, package_bits))
}

/// What older processors say: how many APIC ids a package has, and how many cores or threads per core.
fn legacy_topology(query: &dyn Fn(u32, u32) -> CpuIdResult, basic: u32, extended: u32) -> (u32, u32) {
    let feature = query(1, 0);
    let hyper_threading = feature.edx >> 28 & 1 == 1;
    if !hyper_threading {
        return (0, 0);
    }
    let ids = width(feature.ebx >> 16 & 0xff);
    let cores = if basic >= 4 { query(4, 0).eax } else { 0 };
    if cores & 0x1f != 0 {
        return (ids.saturating_sub(width((cores >> 26) + 1)), ids);
    }
    let amd = if extended >= 0x8000_0008 { query(0x8000_0008, 0).ecx } else { 0 };
    let package_bits = match amd >> 12 & 0xf {
        0 => width((amd & 0xff) + 1).max(ids),
        bits => bits,
    };
    let threads = if extended >= 0x8000_001e { (query(0x8000_001e, 0).ebx >> 8 & 0xff) + 1 } else { 1 };
    (width(threads), package_bits)
}

/// Leaf 4 (Intel) or 0x8000001d (AMD): how many bits tell apart what shares the last of the caches.
fn last_level_bits(query: &dyn Fn(u32, u32) -> CpuIdResult, leaf: u32, highest: u32) -> Option<u32> {
    const MOST_CACHES: u32 = 8;
    const INSTRUCTIONS: u32 = 2;
    if highest < leaf {
        return None;
    }
    let caches = (0..MOST_CACHES).map(|subleaf| query(leaf, subleaf).eax).take_while(|eax| eax & 0x1f != 0);
    let data = caches.filter(|eax| eax & 0x1f != INSTRUCTIONS);
    let last = data.max_by_key(|eax| eax >> 5 & 0x7)?;
    Some(width((last >> 14 & 0xfff) + 1))
}

/// How many bits `count` values need.
fn width(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Leaf = ((u32, u32), [u32; 4]);

    fn layout(leaves: &'static [Leaf]) -> Layout {
        Layout::read(&|leaf, subleaf| {
            let found = leaves.iter().find(|(key, _)| *key == (leaf, subleaf));
            let [eax, ebx, ecx, edx] = found.map_or([0; 4], |(_, registers)| *registers);
            CpuIdResult { eax, ebx, ecx, edx }
        })
    }

    #[test]
    fn an_intel_package_of_sixteen_threads_and_one_cache() {
        let layout = layout(&[
            ((0, 0), [0x1f, 0, 0, 0]),
            ((0x1f, 0), [1, 2, 0x100, 0]),
            ((0x1f, 1), [4, 16, 0x201, 0]),
            ((4, 0), [1 | 1 << 5 | 1 << 14, 0, 0, 0]),
            ((4, 1), [2 | 1 << 5 | 1 << 14, 0, 0, 0]),
            ((4, 2), [3 | 3 << 5 | 15 << 14, 0, 0, 0]),
        ]);
        assert_eq!(layout.locate(ApicId(0x1b)), Location { socket: 1, cache: 1, core: 13, thread: 1 });
    }

    #[test]
    fn an_amd_package_has_a_cache_for_each_four_cores() {
        let layout = layout(&[
            ((0, 0), [0xd, 0, 0, 0]),
            ((0xb, 0), [1, 2, 0x100, 0]),
            ((0xb, 1), [5, 32, 0x201, 0]),
            ((EXTENDED, 0), [0x8000_001e, 0, 0, 0]),
            ((0x8000_001d, 0), [1 | 1 << 5 | 1 << 14, 0, 0, 0]),
            ((0x8000_001d, 1), [3 | 3 << 5 | 7 << 14, 0, 0, 0]),
        ]);
        assert_eq!(layout.locate(ApicId(0x2d)), Location { socket: 1, cache: 5, core: 22, thread: 1 });
    }

    #[test]
    fn a_processor_that_says_nothing_of_caches_has_one_for_each_package() {
        let layout =
            layout(&[((0, 0), [0xd, 0, 0, 0]), ((0xb, 0), [0, 1, 0x100, 0]), ((0xb, 1), [2, 4, 0x201, 0])]);
        assert_eq!(layout.locate(ApicId(6)), Location { socket: 1, cache: 1, core: 6, thread: 0 });
    }

    #[test]
    fn older_processors_are_understood_by_their_counts() {
        let two_cores_of_two_threads = layout(&[
            ((0, 0), [4, 0, 0, 0]),
            ((1, 0), [0, 4 << 16, 0, 1 << 28]),
            ((4, 0), [1 | 1 << 5 | 1 << 14 | 1 << 26, 0, 0, 0]),
        ]);
        assert_eq!(
            two_cores_of_two_threads.locate(ApicId(7)),
            Location { socket: 1, cache: 3, core: 3, thread: 1 }
        );
        let single = layout(&[((0, 0), [1, 0, 0, 0])]);
        assert_eq!(single.locate(ApicId(3)), Location { socket: 3, cache: 3, core: 3, thread: 0 });
    }
}

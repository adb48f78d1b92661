//! What the processor says of itself, for programs that want to know. Intel SDM vol. 2A, CPUID.
//!
//! Asked on whichever CPU calls: all processors are taken to be alike.

use alloc::string::String;
use alloc::vec::Vec;
use raw_cpuid::{CpuId, CpuIdReaderNative};

#[derive(Clone, Debug, Default)]
pub struct Processor {
    pub vendor: String,
    pub name: String,
    pub family: u32,
    pub model: u32,
    pub stepping: u32,
    /// The highest basic leaf.
    pub level: u32,
    /// The frequency of the time-stamp counter.
    pub khz: u64,
    /// The last-level cache.
    pub cache_kib: usize,
    /// Physical and virtual.
    pub address_bits: (u8, u8),
    /// By the names of Linux's `cpufeatures.h`.
    pub flags: Vec<&'static str>,
}

/// One cache of a processor.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    pub level: u8,
    /// As sysfs says it.
    pub kind: &'static str,
    pub bytes: usize,
    pub line: usize,
    pub ways: usize,
    pub sets: usize,
}

fn identification() -> CpuId<CpuIdReaderNative> {
    CpuId::new()
}

pub fn processor() -> Processor {
    let cpuid = identification();
    let version = cpuid.get_feature_info();
    let vendor = cpuid.get_vendor_info();
    let brand = cpuid.get_processor_brand_string();
    let sizes = cpuid.get_processor_capacity_feature_info();
    Processor {
        level: raw_cpuid::cpuid!(0).eax,
        vendor: vendor.map(|vendor| String::from(vendor.as_str())).unwrap_or_default(),
        name: brand.map(|brand| String::from(brand.as_str().trim())).unwrap_or_default(),
        family: version.as_ref().map_or(0, |version| version.family_id().into()),
        model: version.as_ref().map_or(0, |version| version.model_id().into()),
        stepping: version.as_ref().map_or(0, |version| version.stepping_id().into()),
        khz: crate::time::tsc_hz() / 1000,
        cache_kib: caches().iter().map(|cache| cache.bytes).max().unwrap_or(0) / 1024,
        address_bits: sizes
            .map_or((36, 48), |sizes| (sizes.physical_address_bits(), sizes.linear_address_bits())),
        flags: flags(&cpuid),
    }
}

/// The features that programs look for most, in Linux's order of words.
fn flags(cpuid: &CpuId<CpuIdReaderNative>) -> Vec<&'static str> {
    let mut flags = Vec::new();
    let mut add = |has: bool, name: &'static str| {
        if has {
            flags.push(name);
        }
    };
    if let Some(basic) = cpuid.get_feature_info() {
        add(basic.has_fpu(), "fpu");
        add(basic.has_de(), "de");
        add(basic.has_pse(), "pse");
        add(basic.has_tsc(), "tsc");
        add(basic.has_msr(), "msr");
        add(basic.has_pae(), "pae");
        add(basic.has_mce(), "mce");
        add(basic.has_cmpxchg8b(), "cx8");
        add(basic.has_apic(), "apic");
        add(basic.has_sysenter_sysexit(), "sep");
        add(basic.has_mtrr(), "mtrr");
        add(basic.has_pge(), "pge");
        add(basic.has_mca(), "mca");
        add(basic.has_cmov(), "cmov");
        add(basic.has_pat(), "pat");
        add(basic.has_pse36(), "pse36");
        add(basic.has_clflush(), "clflush");
        add(basic.has_mmx(), "mmx");
        add(basic.has_fxsave_fxstor(), "fxsr");
        add(basic.has_sse(), "sse");
        add(basic.has_sse2(), "sse2");
        add(basic.has_htt(), "ht");
        add(true, "syscall");
        add(true, "nx");
        add(true, "lm");
        add(basic.has_sse3(), "pni");
        add(basic.has_pclmulqdq(), "pclmulqdq");
        add(basic.has_monitor_mwait(), "monitor");
        add(basic.has_ssse3(), "ssse3");
        add(basic.has_fma(), "fma");
        add(basic.has_cmpxchg16b(), "cx16");
        add(basic.has_sse41(), "sse4_1");
        add(basic.has_sse42(), "sse4_2");
        add(basic.has_x2apic(), "x2apic");
        add(basic.has_movbe(), "movbe");
        add(basic.has_popcnt(), "popcnt");
        add(basic.has_tsc_deadline(), "tsc_deadline_timer");
        add(basic.has_aesni(), "aes");
        add(basic.has_xsave(), "xsave");
        add(basic.has_avx(), "avx");
        add(basic.has_f16c(), "f16c");
        add(basic.has_rdrand(), "rdrand");
        add(basic.has_hypervisor(), "hypervisor");
    }
    if let Some(extended) = cpuid.get_extended_feature_info() {
        add(extended.has_fsgsbase(), "fsgsbase");
        add(extended.has_bmi1(), "bmi1");
        add(extended.has_avx2(), "avx2");
        add(extended.has_smep(), "smep");
        add(extended.has_bmi2(), "bmi2");
        add(extended.has_rep_movsb_stosb(), "erms");
        add(extended.has_avx512f(), "avx512f");
        add(extended.has_rdseed(), "rdseed");
        add(extended.has_adx(), "adx");
        add(extended.has_smap(), "smap");
        add(extended.has_sha(), "sha_ni");
        add(extended.has_umip(), "umip");
        add(extended.has_rdpid(), "rdpid");
    }
    flags
}

/// The caches of a processor, from the nearest; none where the processor does not tell.
pub fn caches() -> Vec<Cache> {
    use raw_cpuid::CacheType;
    let cpuid = identification();
    let mut caches = Vec::new();
    for cache in cpuid.get_cache_parameters().into_iter().flatten() {
        let kind = match cache.cache_type() {
            CacheType::Data => "Data",
            CacheType::Instruction => "Instruction",
            CacheType::Unified => "Unified",
            CacheType::Null | CacheType::Reserved => continue,
        };
        let (line, ways, sets) = (cache.coherency_line_size(), cache.associativity(), cache.sets());
        let bytes = line * ways * sets * cache.physical_line_partitions();
        caches.push(Cache { level: cache.level(), kind, bytes, line, ways, sets });
    }
    caches
}

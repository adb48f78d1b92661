//! From the loader to the first program.

use crate::options::Options;
use crate::run::Run;
use crate::tty::serial::Input;
use crate::{
    clock, console, cpus, early, fs, interrupts, perturb, symbols, timers, topology, trace, tty, vdso,
    watchdog,
};
use alloc::{string::String, string::ToString, vec::Vec};
use arch::boot::BootInfo;
use core::fmt::Display;
use formats::CpuId;
use formats::record::{Boot, SCHEMA};
use log::LevelFilter;
use sched::Timer;

/// The kernel's first safe code: on the boot CPU, with interrupts off.
pub fn kernel_main(info: &'static BootInfo) -> ! {
    console::init();
    early::start(info).unwrap_or_else(|why| refuse(&why));
    symbols::init(info.kernel_file);
    interrupts::init();
    let options = Options::parse(&info.cmdline).unwrap_or_else(|why| refuse(&why));
    if options.input == Input::Stream {
        // What the program writes goes to other programs, which expect nothing else.
        log::set_max_level(LevelFilter::Warn);
    }
    let machine = early::discover(info, options.x2apic).unwrap_or_else(|why| refuse(&why));

    let possible = machine.processors.len().min(formats::CpuSet::CAPACITY);
    let topology = topology::find(&options, &machine, possible).unwrap_or_else(|why| refuse(&why));
    trace::init(&options, &topology).unwrap_or_else(|why| refuse(&why));
    cpus::init(&options, topology);
    crate::task::set_steps(options.step);
    clock::init(&options, possible);
    timers::init(possible);
    watchdog::init(options.limit);
    perturb::init(&options);
    vdso::init().unwrap_or_else(|why| refuse(&why));
    vdso::init_this_cpu(CpuId(0));
    let listens = options.input != Input::Off;
    let receiver = if listens { early::listen_to_serial(&machine) } else { None };
    tty::serial::init(options.input, receiver);
    fs::init(archive(info).unwrap_or_else(|why| refuse(&why)));

    let reports = early::start_others(info, &machine, other_main).unwrap_or_else(|why| refuse(&why));
    let dead: Vec<u32> =
        reports.iter().filter(|report| report.cpu.is_none()).map(|report| report.apic_id.0).collect();
    for apic_id in &dead {
        log::warn!("the processor with APIC id {apic_id} does not answer and is left out");
    }
    let online = possible - dead.len();
    let memory_bytes = (mm::frames::total() * mm::PAGE) as u64;
    log::info!(
        "{online} CPUs, {} MiB, {}, {} ms",
        memory_bytes >> 20,
        options.summary(),
        arch::time::now().duration_since_epoch().as_millis()
    );

    // The first program starts when this CPU is an idle one, so that the scheduler knows where it comes from.
    let boot = describe(info, &options, online as u32, dead, memory_bytes);
    let mut run = None;
    cpus::idle(|| {
        run.get_or_insert_with(|| {
            cpus::wait_for(online);
            Run::start(&options, boot.clone()).unwrap_or_else(|why| refuse(&why))
        })
        .conclude_if_over();
    })
}

/// Where the other CPUs start.
fn other_main(cpu: CpuId) -> ! {
    early::start_other(cpu);
    vdso::init_this_cpu(cpu);
    arch::apic::init_this_cpu();
    arch::time::init_this_cpu();
    cpus::idle(|| {})
}

/// Ends a machine that cannot do what was asked, with a sentence.
fn refuse<T>(why: &dyn Display) -> T {
    arch::power::fail(format_args!("{why}"))
}

/// The archive with the programs.
fn archive(info: &BootInfo) -> Result<&'static [u8], &'static str> {
    info.modules
        .first()
        .map(|module| module.data)
        .ok_or("the boot loader gave no module: the initramfs is missing")
}

fn describe(info: &BootInfo, options: &Options, cpus: u32, dead_cpus: Vec<u32>, memory_bytes: u64) -> Boot {
    Boot {
        places: topology::record(cpus::topology(), cpus as usize),
        schema: SCHEMA,
        kernel_version: String::from(env!("CARGO_PKG_VERSION")),
        bootloader: info.bootloader.to_string(),
        command_line: info.cmdline.to_string(),
        cpus,
        dead_cpus,
        apic: arch::apic::mode().to_string(),
        clock_reference: String::from(arch::time::source()),
        tsc_hz: arch::time::tsc_hz(),
        hz: if options.timer == Timer::Periodic { options.hz } else { 0 },
        order: String::from(options.order.name),
        balancer: String::from(options.balancer.name),
        seed: options.seed,
        memory_bytes,
        kernel_bytes: 0,
        boot_ns: 0,
    }
}

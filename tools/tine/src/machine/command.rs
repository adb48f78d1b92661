//! How QEMU is called for a machine.

use super::accel::Accelerator;
use super::config::Config;
use super::plan::Plan;
use crate::build::Guest;
use crate::setup::qemu::Qemu;
use std::process::Command;

/// The descriptors of QEMU that COM1, COM2 and the debug console are written to. COM1's is a connected socket when there is
/// input.
pub const COM1_FD: i32 = 3;
pub const COM2_FD: i32 = 4;
pub const TRACE_FD: i32 = 5;

/// The whole command but for the descriptors themselves.
pub fn command(qemu: &Qemu, plan: &Plan, guest: &Guest, accelerator: Accelerator) -> Command {
    let mut command = Command::new(&qemu.path);
    command.args(accelerator.arguments()).args(hardware(&plan.config));
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    match plan.input {
        None => command.args(serial("com1", COM1_FD)),
        Some(_) => {
            command.args(["-chardev", &format!("socket,id=com1,fd={COM1_FD}"), "-serial", "chardev:com1"])
        }
    };
    command.args(serial("com2", COM2_FD));
    if plan.trace.is_some() {
        command.args(channel("trace", TRACE_FD)).args(["-device", "isa-debugcon,iobase=0xe9,chardev=trace"]);
    }
    command.arg("-kernel").arg(&guest.loader).arg("-initrd").arg(&guest.initramfs);
    command.arg("-append").arg(plan.command_line());
    command.args(&plan.config.qemu_arguments);
    command
}

/// A serial port that is written to a descriptor which QEMU inherits.
fn serial(name: &str, fd: i32) -> impl Iterator<Item = String> {
    channel(name, fd).into_iter().chain(["-serial".to_owned(), format!("chardev:{name}")])
}

/// What writes to a descriptor that QEMU inherits. QEMU knows it as a set of descriptors, and appends, as a pipe cannot be
/// truncated.
fn channel(name: &str, fd: i32) -> [String; 4] {
    [
        "-add-fd".to_owned(),
        format!("fd={fd},set={fd}"),
        "-chardev".to_owned(),
        format!("file,id={name},path=/dev/fdset/{fd},append=on"),
    ]
}

fn hardware(config: &Config) -> Vec<String> {
    // QEMU cannot count instructions and have an x2APIC's timer: it ends with "Bad icount read".
    let without_x2apic = if config.x2apic && !config.virtual_time { "" } else { ",-x2apic" };
    let mut arguments = vec![
        "-machine".to_owned(),
        config.machine.clone(),
        "-cpu".to_owned(),
        format!("{}{without_x2apic}", config.cpu),
        "-m".to_owned(),
        format!("{}M", config.memory_mib),
        "-smp".to_owned(),
        match config.topology {
            None => config.cpus.to_string(),
            Some(it) => {
                format!("{},sockets={},cores={},threads={}", config.cpus, it.sockets, it.cores, it.threads)
            }
        },
    ];
    for node in 0..config.nodes {
        let cpus = config.cpus / config.nodes;
        let (first, last) = (node * cpus, (node + 1) * cpus - 1);
        arguments.push("-object".into());
        let size = config.memory_mib / config.nodes;
        arguments.push(format!("memory-backend-ram,id=node{node},size={size}M"));
        arguments.push("-numa".into());
        arguments.push(format!("node,nodeid={node},memdev=node{node},cpus={first}-{last}"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::config::Topology;

    #[test]
    fn a_topology_and_nodes_are_spelled_out() {
        let config = Config {
            cpus: 8,
            memory_mib: 1024,
            topology: Some(Topology { sockets: 2, cores: 2, threads: 2 }),
            nodes: 2,
            x2apic: false,
            ..Config::default()
        };
        let arguments = hardware(&config).join(" ");
        assert_eq!(
            arguments,
            "-machine q35 -cpu max,-x2apic -m 1024M -smp 8,sockets=2,cores=2,threads=2 \
             -object memory-backend-ram,id=node0,size=512M -numa node,nodeid=0,memdev=node0,cpus=0-3 \
             -object memory-backend-ram,id=node1,size=512M -numa node,nodeid=1,memdev=node1,cpus=4-7"
        );
    }
}

//! Files that only Tine has, in `/proc/tine`: what is in use, and the policies in force. [`measures`](super::measures) has
//! the rest.

use crate::cpus::policies;
use crate::errno::Errno;
use crate::fs::text::Generate;
use crate::leaks;
use alloc::{format, string::String, vec::Vec};
use sched::{balance, order};

/// What is in use, to be compared with what it was before: `NAME COUNT` on each line.
pub fn leaks() -> Result<Vec<u8>, Errno> {
    let now = leaks::count();
    let lines = [
        ("frames", now.frames),
        ("threads", now.threads),
        ("processes", now.processes),
        ("file_descriptions", now.file_descriptions),
    ];
    Ok(lines.iter().map(|(name, count)| format!("{name} {count}\n")).collect::<String>().into_bytes())
}

/// Carries out what was written to a setting.
type Set = fn(&str) -> Result<(), Errno>;

/// What can be read and written.
pub const SETTINGS: &[(&str, Generate, Set)] =
    &[("balancer", balancer, set_balancer), ("order", order, set_order)];

/// All names, the one in force in brackets, as Linux's `/sys/block/*/queue/scheduler`.
fn choice(names: impl Iterator<Item = &'static str>, chosen: &'static str) -> Vec<u8> {
    let mut words: Vec<&str> = names.collect();
    // One that was chosen at boot and is not registered.
    if !words.contains(&chosen) {
        words.push(chosen);
    }
    let shown = |word: &&str| if *word == chosen { format!("[{word}]") } else { String::from(*word) };
    let words: Vec<String> = words.iter().map(shown).collect();
    format!("{}\n", words.join(" ")).into_bytes()
}

fn balancer() -> Result<Vec<u8>, Errno> {
    Ok(choice(balance::balancers().iter().map(|entry| entry.name), policies::balancer().name))
}

fn order() -> Result<Vec<u8>, Errno> {
    Ok(choice(order::orders().iter().map(|entry| entry.name), policies::order().name))
}

fn set_balancer(name: &str) -> Result<(), Errno> {
    let entry = balance::by_name(name).ok_or(Errno::EINVAL)?;
    policies::set_balancer(entry).map_err(|_| Errno::EINVAL)
}

fn set_order(name: &str) -> Result<(), Errno> {
    let entry = order::by_name(name).ok_or(Errno::EINVAL)?;
    policies::set_order(entry).map_err(|_| Errno::EINVAL)
}

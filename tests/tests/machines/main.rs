//! Promises that are kept by a whole machine: each module boots some, and reads their results.

mod accounting;
mod apic;
mod exhaustion;
mod explored;
mod fifty_boots;
mod first_run;
mod fork;
mod hot_swap;
mod hotplug;
mod linux_programs;
mod many_cpus;
mod noticed;
mod one_shot;
mod policies;
mod policy_faults;
mod replayed;
mod same_as_linux;
mod starvation;
mod time_of_day;
mod topology;
mod traced;

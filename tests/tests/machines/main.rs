//! Promises that are kept by a whole machine: each module boots some, and reads their results.

mod accounting;
mod apic;
mod exhaustion;
mod fifty_boots;
mod first_run;
mod fork;
mod hot_swap;
mod hotplug;
mod many_cpus;
mod noticed;
mod policies;
mod policy_faults;
mod same_as_linux;
mod starvation;
mod time_of_day;
mod topology;
mod traced;

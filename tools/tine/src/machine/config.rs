//! What a machine of `qemu-configs/` consists of.

use crate::names;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// A virtual machine and how it schedules. Each key of a configuration file is a field of this; what a file leaves out
/// is as in [`Config::default`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One line for `tine configs`.
    pub summary: String,
    pub cpus: u32,
    pub memory_mib: u32,
    pub hz: Tick,
    /// A run queue of `sched`.
    pub order: String,
    /// A balancer of `sched`.
    pub balancer: String,
    /// How the CPUs are laid out; without it, they are the cores of one socket.
    pub topology: Option<Topology>,
    /// NUMA nodes, among which CPUs and memory are shared out evenly; 0 for none.
    pub nodes: u32,
    pub accel: Accel,
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// QEMU's `-machine`.
    pub machine: String,
    /// Whether the CPUs have it; never in virtual time.
    pub x2apic: bool,
    /// Time counts instructions (`-icount`) instead of passing by itself.
    #[serde(rename = "virtual")]
    pub virtual_time: bool,
    /// More options for the kernel's command line.
    pub append: String,
    /// More arguments for QEMU.
    pub qemu_arguments: Vec<String>,
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            summary: String::new(),
            cpus: 4,
            memory_mib: 512,
            hz: Tick::Hz(100),
            order: "round_robin".into(),
            balancer: "two_choices".into(),
            topology: None,
            nodes: 0,
            accel: Accel::Auto,
            cpu: "max".into(),
            machine: "q35".into(),
            x2apic: true,
            virtual_time: false,
            append: String::new(),
            qemu_arguments: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// How often each CPU's timer interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Times per second, 1 to 10,000.
    Hz(u32),
    /// Only when a slice ends.
    OneShot,
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hz(hz) => write!(f, "{hz}"),
            Self::OneShot => f.write_str("oneshot"),
        }
    }
}

impl FromStr for Tick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(hz @ 1..=10_000) => Ok(Self::Hz(hz)),
            Err(_) if text == "oneshot" => Ok(Self::OneShot),
            _ => Err(format!("`{text}` is neither a rate from 1 to 10000 nor `oneshot`")),
        }
    }
}

impl Serialize for Tick {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Hz(hz) => serializer.serialize_u32(*hz),
            Self::OneShot => serializer.serialize_str("oneshot"),
        }
    }
}

impl<'de> Deserialize<'de> for Tick {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Word(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Word(word) => word,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    pub sockets: u32,
    /// Per socket.
    pub cores: u32,
    /// Per core.
    pub threads: u32,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sockets x {} cores x {} threads", self.sockets, self.cores, self.threads)
    }
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// KVM if it can run a guest, else emulation.
    #[default]
    Auto,
    Kvm,
    /// Emulation.
    Tcg,
}

/// Seconds of real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Until the machine has written anything.
    pub boot_s: u32,
    /// Until it has ended.
    pub run_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { boot_s: 20, run_s: 120 }
    }
}

impl Limits {
    pub fn boot(&self) -> Duration {
        Duration::from_secs(self.boot_s.into())
    }

    pub fn run(&self) -> Duration {
        Duration::from_secs(self.run_s.into())
    }
}

impl Config {
    /// Reads the configuration `name` of `directory`.
    pub fn load(directory: &Path, name: &str) -> Result<Self> {
        let path = directory.join(format!("{name}.toml"));
        if !path.is_file() {
            let known = Self::names(directory)?;
            let said = names::unknown("configuration", name, known.iter().map(String::as_str));
            bail!("{said} `cargo run -- configs` lists them.");
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not right", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// The names of the configurations in alphabetical order.
    pub fn names(directory: &Path) -> Result<Vec<String>> {
        let entries =
            fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let mut names: Vec<String> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Switches off what cannot be had together with the rest.
    pub fn settle(&mut self) {
        // QEMU (10.0) ends with "Bad icount read" when a guest that counts instructions reads the time in an x2APIC
        // register: its translation of RDMSR and WRMSR does not expect that they look at the clock.
        self.x2apic &= !self.virtual_time;
    }

    /// Fails with a sentence when the parts do not fit each other.
    pub fn check(&self) -> Result<()> {
        ensure!((1..=255).contains(&self.cpus), "`cpus` is {}; a machine has 1 to 255", self.cpus);
        ensure!(self.memory_mib >= 32, "`memory_mib` is {}; Tine needs 32 or more", self.memory_mib);
        if let Some(topology) = self.topology {
            let places = topology.sockets * topology.cores * topology.threads;
            ensure!(
                places == self.cpus,
                "a topology of {topology} has {places} CPUs, but the machine has {}; change both or neither",
                self.cpus
            );
        }
        let nodes = self.nodes.max(1);
        ensure!(
            self.cpus.is_multiple_of(nodes) && self.memory_mib.is_multiple_of(nodes),
            "{} CPUs and {} MiB cannot be shared out evenly among {nodes} nodes",
            self.cpus,
            self.memory_mib
        );
        ensure!(
            !(self.virtual_time && self.accel == Accel::Kvm),
            "virtual time counts emulated instructions, so `virtual` excludes `accel = \"kvm\"`"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Config::parse(text).expect_err("wrong"))
    }

    #[test]
    fn what_a_file_leaves_out_is_as_by_default() {
        let config =
            Config::parse("cpus = 8\nhz = \"oneshot\"\n[topology]\nsockets = 2\ncores = 2\nthreads = 2\n");
        let config = config.expect("right");
        assert_eq!((config.cpus, config.hz, config.memory_mib), (8, Tick::OneShot, 512));
        assert_eq!(Config::parse("").expect("right"), Config::default());
    }

    #[test]
    fn a_configuration_survives_being_written() {
        let config = Config { hz: Tick::OneShot, virtual_time: true, ..Config::default() };
        let text = toml::to_string(&config).expect("written");
        assert_eq!(Config::parse(&text).expect("read"), config);
    }

    #[test]
    fn an_unknown_key_is_named() {
        assert!(error("cpu_count = 4").contains("unknown field `cpu_count`"), "{}", error("cpu_count = 4"));
        assert!(error("[limits]\nboot = 1").contains("unknown field `boot`"));
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        assert!(error("hz = 0").contains("`0` is neither a rate"), "{}", error("hz = 0"));
        assert!(error("hz = \"often\"").contains("`often` is neither a rate"));
        assert!(error("cpus = 0").contains("`cpus` is 0"));
        assert!(error("cpus = 5\nnodes = 2").contains("evenly among 2 nodes"));
        assert!(error("virtual = true\naccel = \"kvm\"").contains("`virtual` excludes"));
        assert!(
            error("cpus = 4\n[topology]\nsockets = 2\ncores = 2\nthreads = 2").contains("has 8 CPUs"),
            "the product of a topology must be the number of CPUs"
        );
    }

    #[test]
    fn an_unknown_configuration_gets_the_one_that_was_meant() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("sockets.toml"), "").expect("a file");
        let said = Config::load(directory.path(), "socket").expect_err("unknown").to_string();
        assert!(said.contains("did you mean `sockets`?"), "{said}");
    }
}

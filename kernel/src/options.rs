//! The kernel's command line.
//!
//! `KEY=VALUE` words, then optionally ` -- ` and the program's arguments. A word may be quoted with `'`, so that arguments
//! can hold blanks. What cannot be understood is an error with a sentence that says why; nothing is silently ignored.

use crate::sabotage::Sabotage;
use crate::trace::Level;
use crate::tty::serial::Input;
use alloc::{format, string::String, vec::Vec};
use formats::Duration;
use sched::Timer;

/// Everything that can be chosen at boot.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ticks per second, or [`Timer::OneShot`].
    pub hz: u32,
    pub timer: Timer,
    pub order: &'static sched::order::Entry,
    pub balancer: &'static sched::balance::Entry,
    pub seed: u64,
    /// The first-run guarantee, R2 and R3.
    pub first_run: bool,
    /// Fire the timer right after each entry of a new thread into user mode.
    pub storm: bool,
    /// How to break the kernel when the first program starts, to see whether that is noticed.
    pub fail: Option<Sabotage>,
    /// A CPU pauses at one of so many points between steps that others may see apart; 0: at none.
    pub perturb: u32,
    /// How long the run may take, by the machine's own clock.
    pub limit: Option<Duration>,
    /// Which events are traced.
    pub trace: Level,
    /// How much of a trace each CPU keeps, in KiB.
    pub trace_kib: u32,
    /// Of each new thread, the addresses of so many instructions are traced.
    pub step: u32,
    /// Use x2APIC mode where the CPU has it.
    pub x2apic: bool,
    /// Where the first program's input comes from.
    pub input: Input,
    /// Sockets, cores per socket, threads per core; `None`: one core per CPU.
    pub topology: Option<(u32, u32, u32)>,
    /// The first program.
    pub init: String,
    /// What it is told to be called, as `argv[0]`; `None`: its path.
    pub init_name: Option<String>,
    pub arguments: Vec<String>,
}

/// The nominal tick of one-shot mode, in ticks per second.
const NOMINAL_HZ: u32 = 100;

impl Default for Options {
    fn default() -> Self {
        let defaults = sched::Config::default();
        Self {
            hz: 100,
            timer: Timer::Periodic,
            order: defaults.order,
            balancer: defaults.balancer,
            seed: 1,
            first_run: true,
            storm: false,
            fail: None,
            perturb: 0,
            limit: None,
            trace: Level::Off,
            trace_kib: 1024,
            step: 0,
            x2apic: true,
            input: Input::Off,
            topology: None,
            init: String::from("/bin/fork_spin_stress"),
            init_name: None,
            arguments: Vec::new(),
        }
    }
}

impl Options {
    /// Understands a command line.
    ///
    /// # Errors
    /// A sentence that names the word that cannot be understood and what would be.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = split_words(line)?.into_iter();
        for word in words.by_ref() {
            if word == "--" {
                break;
            }
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("option `{word}` is not of the form KEY=VALUE"))?;
            options.set(key, value)?;
        }
        if options.step > 0 && options.trace == Level::Off {
            return Err(String::from("debug.step: it needs a trace, to write to"));
        }
        options.arguments = words.collect();
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "hz" if value == "oneshot" => (self.timer, self.hz) = (Timer::OneShot, NOMINAL_HZ),
            "hz" => (self.timer, self.hz) = (Timer::Periodic, number(key, value, 1, 10_000)?),
            "order" => self.order = named(key, value, orders(), |entry| entry.name)?,
            "balancer" => self.balancer = named(key, value, balancers(), |entry| entry.name)?,
            "seed" => {
                self.seed = value.parse().map_err(|_| format!("seed={value}: not a number below 2^64"))?
            }
            "sched.first_run" => self.first_run = switch(key, value)?,
            "tick.storm" => self.storm = switch(key, value)?,
            "debug.fail" => self.fail = Some(sabotage(value)?),
            "debug.perturb" => self.perturb = number(key, value, 0, 1_000_000)?,
            "debug.limit" => {
                let seconds = number(key, value, 1, 1_000_000)?;
                self.limit = Some(Duration::from_secs(seconds.into()));
            }
            "trace" => self.trace = level(value)?,
            "trace.buffer" => self.trace_kib = number(key, value, 64, 65_536)?,
            "debug.step" => self.step = number(key, value, 0, 1_000_000)?,
            "x2apic" => self.x2apic = switch(key, value)?,
            "console.input" => self.input = input(value)?,
            "topology" => self.topology = Some(topology(value)?),
            "init" => self.init = String::from(value),
            "init.name" => self.init_name = Some(String::from(value)),
            _ => return Err(format!("there is no option `{key}`")),
        }
        Ok(())
    }

    /// What was chosen, in a few words.
    pub fn summary(&self) -> String {
        let tick = match self.timer {
            Timer::Periodic => format!("{} Hz", self.hz),
            Timer::OneShot => String::from("one-shot"),
        };
        format!("{tick}, {}, {}", self.order.name, self.balancer.name)
    }

    /// The period of the tick, or the nominal tick of one-shot mode.
    pub fn tick(&self) -> Duration {
        Duration::from_ticks(1_000_000_000 / u64::from(self.hz))
    }
}

/// Policies that are wrong on purpose.
#[cfg(feature = "planted")]
use sched::planted::{BALANCERS as PLANTED_BALANCERS, ORDERS as PLANTED_ORDERS};
#[cfg(not(feature = "planted"))]
const PLANTED_BALANCERS: [&sched::balance::Entry; 0] = [];
#[cfg(not(feature = "planted"))]
const PLANTED_ORDERS: [&sched::order::Entry; 0] = [];

/// The orders that can be chosen at boot.
fn orders() -> impl Iterator<Item = &'static sched::order::Entry> + Clone {
    sched::order::orders().iter().chain(&PLANTED_ORDERS).copied()
}

/// The balancers that can be chosen at boot.
fn balancers() -> impl Iterator<Item = &'static sched::balance::Entry> + Clone {
    sched::balance::balancers().iter().chain(&PLANTED_BALANCERS).copied()
}

fn sabotage(value: &str) -> Result<Sabotage, String> {
    Sabotage::ALL.iter().find(|(name, _)| *name == value).map(|(_, sabotage)| *sabotage).ok_or_else(|| {
        let names: Vec<_> = Sabotage::ALL.iter().map(|(name, _)| *name).collect();
        format!("debug.fail={value}: there are: {}", names.join(", "))
    })
}

fn input(value: &str) -> Result<Input, String> {
    Input::ALL.iter().find(|(name, _)| *name == value).map(|(_, input)| *input).ok_or_else(|| {
        let names = Input::ALL.map(|(name, _)| name);
        format!("console.input={value}: there are: {}", names.join(", "))
    })
}

fn level(value: &str) -> Result<Level, String> {
    Level::ALL.iter().find(|(name, _)| *name == value).map(|(_, level)| *level).ok_or_else(|| {
        let names = Level::ALL.map(|(name, _)| name);
        format!("trace={value}: there are: {}", names.join(", "))
    })
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{key}={value}: neither `on` nor `off`")),
    }
}

fn number(key: &str, value: &str, least: u32, most: u32) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{key}={value}: not a number from {least} to {most}")),
    }
}

fn named<T>(
    key: &str,
    value: &str,
    all: impl Iterator<Item = &'static T> + Clone,
    name: impl Fn(&T) -> &'static str,
) -> Result<&'static T, String> {
    all.clone().find(|entry| name(entry) == value).ok_or_else(|| {
        let names: Vec<_> = all.map(name).collect();
        format!("{key}={value}: there is no such {key}; there are: {}", names.join(", "))
    })
}

/// `SOCKETSxCORESxTHREADS`.
fn topology(value: &str) -> Result<(u32, u32, u32), String> {
    let numbers: Option<Vec<u32>> = value.split('x').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[sockets, cores, threads]) if sockets * cores * threads > 0 => Ok((sockets, cores, threads)),
        _ => Err(format!("topology={value}: not of the form SOCKETSxCORESxTHREADS")),
    }
}

fn split_words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            blank if blank.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        return Err(String::from("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

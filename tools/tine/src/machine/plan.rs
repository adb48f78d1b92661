//! One boot, decided to the last detail, and how to ask for it again.

use super::config::Config;
use super::input::Kind;
use crate::build::Profile;
use crate::names;
use crate::trace::Level;
use anyhow::{Result, bail};

/// What is booted.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the configuration that `config` began as.
    pub config_name: String,
    pub config: Config,
    pub profile: Profile,
    pub seed: u64,
    /// The name of a user program.
    pub program: String,
    /// Where it is in the guest.
    pub program_path: String,
    pub arguments: Vec<String>,
    /// Which events are traced.
    pub trace: Option<Level>,
    /// What the program's standard input is; nothing without it.
    pub input: Option<Kind>,
    /// The options of `tine run` that make `config` out of the one of that name.
    pub changes: Vec<String>,
}

impl Plan {
    /// Fails when the kernel has no such order or balancer.
    pub fn check_policies(&self) -> Result<()> {
        // The kernel itself says what it does not have of those that are wrong on purpose.
        let is_planted = |name: &str| self.profile == Profile::Planted && name.starts_with("planted_");
        let (order, balancer) = (&self.config.order, &self.config.balancer);
        let orders = sched::order::orders().iter().map(|it| it.name);
        let balancers = sched::balance::balancers().iter().map(|it| it.name);
        if !is_planted(order) && !orders.clone().any(|name| name == order) {
            bail!(
                "{}. `cargo run -- balancers` lists orders as well.",
                names::unknown("order", order, orders)
            );
        }
        if !is_planted(balancer) && !balancers.clone().any(|name| name == balancer) {
            bail!(
                "{}. `cargo run -- balancers` lists them.",
                names::unknown("balancer", balancer, balancers)
            );
        }
        Ok(())
    }

    /// The kernel's command line.
    pub fn command_line(&self) -> String {
        let config = &self.config;
        let mut words = vec![
            format!("hz={}", config.hz),
            format!("order={}", config.order),
            format!("balancer={}", config.balancer),
            format!("seed={}", self.seed),
        ];
        if !config.x2apic {
            words.push("x2apic=off".into());
        }
        words.extend(self.trace.map(|level| format!("trace={level}")));
        words.extend(self.input.map(|kind| kind.option().to_owned()));
        words.extend((!config.append.is_empty()).then(|| config.append.clone()));
        words.push(format!("init={}", quoted(&self.program_path)));
        if self.program_path != format!("/bin/{}", self.program) {
            words.push(format!("init.name={}", quoted(&self.program)));
        }
        if !self.arguments.is_empty() {
            words.push("--".into());
            words.extend(self.arguments.iter().map(|argument| quoted(argument)));
        }
        words.join(" ")
    }

    /// The command that boots the same machine again.
    pub fn reproduce(&self) -> String {
        let command = if self.input.is_some() { "shell" } else { "run" };
        let mut words = vec![format!("cargo run -- {command}")];
        if self.config_name != super::DEFAULT_CONFIG {
            words.push(format!("--config {}", self.config_name));
        }
        words.extend(self.changes.iter().cloned());
        match self.profile {
            Profile::Release => {}
            Profile::Checked => words.push("--checked".into()),
            Profile::Planted => words.push("--planted".into()),
            Profile::Unmeasured => words.push("--unmeasured".into()),
        }
        words.extend(self.trace.map(|level| format!("--trace tine.pftrace --trace-level {level}")));
        words.push(format!("--seed {}", self.seed));
        if self.input.is_some() {
            return words.join(" ");
        }
        words.extend(["--".to_owned(), self.program.clone()]);
        words.extend(self.arguments.iter().map(|argument| quoted(argument)));
        words.join(" ")
    }
}

/// A word as a shell, and the kernel, takes it apart again.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{word}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            config_name: "xapic".into(),
            config: Config { x2apic: false, append: "tick.storm=on".into(), ..Config::default() },
            profile: Profile::Checked,
            seed: 7,
            program: "hello".into(),
            program_path: "/bin/hello".into(),
            arguments: vec!["--name".into(), "two words".into()],
            trace: None,
            input: None,
            changes: vec!["--append tick.storm=on".into()],
        }
    }

    #[test]
    fn the_kernel_is_told_everything_that_it_decides_by() {
        assert_eq!(
            plan().command_line(),
            "hz=100 order=round_robin balancer=two_choices seed=7 x2apic=off tick.storm=on init=/bin/hello -- \
             --name 'two words'"
        );
    }

    #[test]
    fn an_unknown_policy_is_refused_before_anything_starts() {
        let mut plan = plan();
        assert!(plan.check_policies().is_ok());
        plan.config.balancer = "two_choice".into();
        let said = plan.check_policies().expect_err("unknown").to_string();
        assert!(said.contains("there is no balancer `two_choice`; did you mean `two_choices`?"), "{said}");
    }

    #[test]
    fn the_command_to_do_it_again_is_complete() {
        assert_eq!(
            plan().reproduce(),
            "cargo run -- run --config xapic --append tick.storm=on --checked --seed 7 -- hello --name 'two words'"
        );
    }
}

//! Workload files. `docs/simulator.md` describes the language.

use super::{Channel, Start, Step, Workload};
use crate::Error;
use crate::time::{Span, Time};
use formats::{CpuId, CpuSet};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// The deepest that loops may be nested.
const DEEPEST: usize = 16;

/// The most threads with which a run may begin.
const MOST_THREADS: u64 = 10_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    duration: Option<Span>,
    #[serde(default)]
    channel: BTreeMap<String, FileChannel>,
    start: Vec<FileStart>,
    program: BTreeMap<String, FileProgram>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileChannel {
    capacity: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStart {
    program: Spanned<String>,
    #[serde(default = "one")]
    count: u64,
    #[serde(default)]
    spread: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProgram {
    steps: Vec<Spanned<FileStep>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileStep {
    Compute(Time),
    Sleep(Time),
    Fork(Spanned<String>),
    Wait,
    Send(Spanned<String>),
    Receive(Spanned<String>),
    Yield,
    Pin(Vec<Spanned<u32>>),
    Repeat(FileLoop),
    Forever(Vec<Spanned<FileStep>>),
    Exit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLoop {
    times: u64,
    steps: Vec<Spanned<FileStep>>,
}

fn one() -> u64 {
    1
}

impl Workload {
    /// Reads a workload file, for a machine of `cpus` CPUs.
    ///
    /// # Errors
    /// With line and column, when the text is no workload.
    pub fn parse(text: &str, cpus: usize) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|error| Error::File(error.to_string()))?;
        let names = Names {
            text,
            cpus,
            programs: file.program.keys().map(String::as_str).collect(),
            channels: file.channel.keys().map(String::as_str).collect(),
        };
        let mut workload = Self { duration: file.duration.map(|span| span.0), ..Self::default() };
        for channel in file.channel.values() {
            let capacity = *channel.capacity.get_ref();
            if capacity == 0 {
                return Err(names.error(&channel.capacity, "a channel has room for at least one message"));
            }
            workload.add_channel(Channel { capacity, wake_room: 1 });
        }
        for (name, program) in &file.program {
            let mut steps = Vec::new();
            names.flatten(&program.steps, &mut steps, 0)?;
            workload.add_program(name, steps);
        }
        for start in &file.start {
            let program = names.program(&start.program)?;
            workload.start.push(Start { program, count: start.count, spread: start.spread });
            if workload.threads() > MOST_THREADS {
                return Err(names.error(&start.program, &format!("more than {MOST_THREADS} threads start")));
            }
        }
        Ok(workload)
    }
}

/// What can be referred to, and the text to say where a mistake is.
struct Names<'a> {
    text: &'a str,
    cpus: usize,
    programs: Vec<&'a str>,
    channels: Vec<&'a str>,
}

impl Names<'_> {
    fn error<T>(&self, at: &Spanned<T>, message: &str) -> Error {
        let before = &self.text[..at.span().start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Error::File(format!("line {line}, column {column}: {message}"))
    }

    fn find(&self, kind: &str, name: &Spanned<String>, known: &[&str]) -> Result<usize, Error> {
        known.iter().position(|known| known == name.get_ref()).ok_or_else(|| {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            let there_are = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            self.error(name, &format!("there is no {kind} `{}`; there are: {there_are}", name.get_ref()))
        })
    }

    fn program(&self, name: &Spanned<String>) -> Result<usize, Error> {
        self.find("program", name, &self.programs)
    }

    fn channel(&self, name: &Spanned<String>) -> Result<usize, Error> {
        self.find("channel", name, &self.channels)
    }

    fn flatten(&self, from: &[Spanned<FileStep>], to: &mut Vec<Step>, depth: usize) -> Result<(), Error> {
        for step in from {
            let flat = match step.get_ref() {
                FileStep::Compute(time) => Step::Compute(*time),
                FileStep::Sleep(time) => Step::Sleep(*time),
                FileStep::Fork(name) => Step::Fork(self.program(name)?),
                FileStep::Wait => Step::Wait,
                FileStep::Send(name) => Step::Send(self.channel(name)?),
                FileStep::Receive(name) => Step::Receive(self.channel(name)?),
                FileStep::Yield => Step::Yield,
                FileStep::Exit => Step::Exit,
                FileStep::Pin(cpus) => Step::Pin(Box::new(self.cpus(step, cpus)?)),
                FileStep::Repeat(inner) => {
                    if inner.times > 0 {
                        self.repeat(step, Some(inner.times), &inner.steps, to, depth)?;
                    }
                    continue;
                }
                FileStep::Forever(steps) => {
                    self.repeat(step, None, steps, to, depth)?;
                    continue;
                }
            };
            to.push(flat);
        }
        Ok(())
    }

    fn repeat(
        &self,
        step: &Spanned<FileStep>,
        times: Option<u64>,
        body: &[Spanned<FileStep>],
        to: &mut Vec<Step>,
        depth: usize,
    ) -> Result<(), Error> {
        if depth == DEEPEST {
            return Err(self.error(step, &format!("loops are nested more than {DEEPEST} deep")));
        }
        if body.is_empty() {
            return Err(self.error(step, "a loop without steps takes no time and never ends"));
        }
        let begin = to.len();
        to.push(Step::Repeat(times));
        self.flatten(body, to, depth + 1)?;
        if to.len() == begin + 1 {
            return Err(self.error(step, "a loop without steps takes no time and never ends"));
        }
        to.push(Step::Again(begin));
        Ok(())
    }

    fn cpus(&self, step: &Spanned<FileStep>, cpus: &[Spanned<u32>]) -> Result<CpuSet, Error> {
        if cpus.is_empty() {
            return Err(self.error(step, "a thread needs a CPU to run on"));
        }
        if let Some(beyond) = cpus.iter().find(|cpu| *cpu.get_ref() as usize >= self.cpus) {
            let message = format!("there is no CPU {}: the machine has {}", beyond.get_ref(), self.cpus);
            return Err(self.error(beyond, &message));
        }
        Ok(cpus.iter().map(|cpu| CpuId(*cpu.get_ref())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &str = r#"
        duration = "1 s"
        [channel.requests]
        capacity = 8
        [[start]]
        program = "client"
        count = 3
        [program.client]
        steps = [
            { repeat = { times = 2, steps = [{ compute = { exponential = "1 ms" } }, { send = "requests" }] } },
            { fork = "server" },
            "wait",
        ]
        [program.server]
        steps = [{ pin = [0, 1] }, { repeat = { times = 2, steps = [{ receive = "requests" }] } }]
    "#;

    fn error(text: &str) -> String {
        match Workload::parse(text, 4) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was understood"),
        }
    }

    #[test]
    fn a_file_becomes_flat_programs() {
        let workload = Workload::parse(CLIENTS, 4).expect("it is right");
        assert_eq!(workload.threads(), 3);
        let client = &workload.programs[0];
        assert_eq!(client.name, "client");
        assert!(matches!(
            client.steps[..],
            [
                Step::Repeat(Some(2)),
                Step::Compute(_),
                Step::Send(0),
                Step::Again(0),
                Step::Fork(1),
                Step::Wait
            ]
        ));
    }

    #[test]
    fn a_mistake_is_reported_with_line_and_column() {
        let wrong = |from, to| error(&CLIENTS.replace(from, to));
        assert_eq!(
            wrong("fork = \"server\"", "fork = \"sever\""),
            "line 11, column 22: there is no program `sever`; there are: `client`, `server`"
        );
        assert!(
            wrong("send = \"requests\"", "send = \"request\"")
                .starts_with("line 10, column 95: there is no channel")
        );
        assert!(wrong("[0, 1]", "[0, 4]").contains("there is no CPU 4: the machine has 4"));
        assert!(wrong("1 ms", "1 parsec").contains("line 10, column"));
        assert!(wrong("\"wait\"", "\"weight\"").contains("line 12, column 13"));
        assert!(wrong("[{ receive = \"requests\" }]", "[]").contains("a loop without steps"));
        assert!(wrong("capacity = 8", "capacity = 0").contains("line 4, column 20"));
    }
}

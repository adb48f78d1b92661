//! What the simulated kernel's work costs.

use crate::Error;
use crate::time::Span;
use sched::Distance;
use serde::Deserialize;

/// The costs that are shipped.
const DEFAULT: &str = include_str!("../calibration.toml");

/// Nanoseconds; what each is of is said in `calibration.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub(crate) switch: Span,
    pub(crate) ipi: Span,
    pub(crate) ipi_handler: Span,
    pub(crate) tick: Span,
    pub(crate) idle_exit: Span,
    pub(crate) wake: Span,
    pub(crate) fork: Span,
    pub(crate) exit: Span,
    pub(crate) wait: Span,
    pub(crate) sleep: Span,
    pub(crate) send: Span,
    pub(crate) receive: Span,
    #[serde(rename = "yield")]
    pub(crate) yielding: Span,
    pub(crate) pin: Span,
    pub(crate) migration: Span,
    pub(crate) refill: Refill,
}

/// What a thread's caches cost on another CPU, by how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refill {
    core: Span,
    socket: Span,
    machine: Span,
}

impl Default for Calibration {
    fn default() -> Self {
        toml::from_str(DEFAULT).expect("a test reads it")
    }
}

impl Calibration {
    /// What changing threads costs: of each turn of a recorded thread, as much is not its own.
    pub fn switch(&self) -> formats::Duration {
        formats::Duration::from_ticks(self.switch.0)
    }

    /// Reads a calibration file.
    ///
    /// # Errors
    /// With line and column, when it is none or a cost is missing.
    pub fn parse(text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error::File(error.to_string()))
    }

    /// The costs on CPUs that are `slowdown` times slower. What is under way between CPUs slows down as well, because
    /// whoever emulates them takes turns.
    pub(crate) fn scaled(&self, slowdown: f64) -> Self {
        let scale = |span: Span| Span((span.0 as f64 * slowdown).round() as u64);
        let Refill { core, socket, machine } = self.refill;
        Self {
            switch: scale(self.switch),
            ipi: scale(self.ipi),
            ipi_handler: scale(self.ipi_handler),
            tick: scale(self.tick),
            idle_exit: scale(self.idle_exit),
            wake: scale(self.wake),
            fork: scale(self.fork),
            exit: scale(self.exit),
            wait: scale(self.wait),
            sleep: scale(self.sleep),
            send: scale(self.send),
            receive: scale(self.receive),
            yielding: scale(self.yielding),
            pin: scale(self.pin),
            migration: scale(self.migration),
            refill: Refill { core: scale(core), socket: scale(socket), machine: scale(machine) },
        }
    }

    /// The costs of a machine whose system calls take no time of their own.
    pub(crate) fn without_calls(self) -> Self {
        let [wake, fork, exit, wait, sleep, send, receive, yielding, pin] = [Span(0); 9];
        Self { wake, fork, exit, wait, sleep, send, receive, yielding, pin, ..self }
    }
}

impl Refill {
    pub(crate) fn of(&self, distance: Distance) -> u64 {
        match distance {
            Distance::Same => 0,
            Distance::Core => self.core.0,
            Distance::Machine => self.machine.0,
            _ => self.socket.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_costs_can_be_read_and_scaled() {
        let shipped = Calibration::default();
        assert_eq!(shipped.scaled(2.0).switch.0, 2 * shipped.switch.0);
        assert_eq!(shipped.scaled(1.0), shipped);
    }

    #[test]
    fn a_mistake_is_reported_with_its_place() {
        let text = DEFAULT.replace("switch = \"3.25 us\"", "switch = \"soon\"");
        let error = Calibration::parse(&text).map_err(|error| error.to_string());
        assert!(
            error.is_err_and(|text| text.contains("line 5, column 10") && text.contains("`soon` is no time"))
        );
    }
}

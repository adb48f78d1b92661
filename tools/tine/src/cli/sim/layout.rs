//! How the CPUs of a simulated machine are laid out.

use sched::Topology;
use std::str::FromStr;

/// Sockets, cores and hardware threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    sockets: u32,
    cores: u32,
    threads: u32,
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no topology: write sockets x cores x threads, as in 2x64x2");
        let numbers: Vec<u32> =
            text.split('x').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let (sockets, cores, threads) = match numbers[..] {
            [sockets, cores] => (sockets, cores, 1),
            [sockets, cores, threads] => (sockets, cores, threads),
            _ => return Err(wrong()),
        };
        let layout = Self { sockets, cores, threads };
        match layout.cpus() {
            0 => Err(wrong()),
            cpus if cpus > most_cpus() as u64 => {
                Err(format!("`{text}` has {cpus} CPUs; a simulated machine has at most {}", most_cpus()))
            }
            _ => Ok(layout),
        }
    }
}

impl Layout {
    /// Saturating: nobody has so many.
    pub fn cpus(self) -> u64 {
        [self.cores, self.threads]
            .iter()
            .fold(u64::from(self.sockets), |cpus, n| cpus.saturating_mul((*n).into()))
    }

    pub fn topology(self) -> Topology {
        Topology::regular(self.sockets, self.cores, self.threads)
    }
}

/// The most CPUs that a simulated machine has.
pub fn most_cpus() -> usize {
    formats::CpuSet::CAPACITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_is_two_or_three_numbers_whose_product_a_machine_can_have() {
        let parse = |text: &str| text.parse::<Layout>().map(Layout::cpus);
        assert_eq!(parse("2x64x32"), Ok(4096));
        assert_eq!(parse("2x8"), Ok(16));
        assert!(["", "4", "2x", "0x4x1", "axb", "1x2x3x4"].iter().all(|text| parse(text).is_err()));
        assert!(parse("4294967295x4294967295x2").is_err_and(|said| said.contains("at most 4096")));
    }
}

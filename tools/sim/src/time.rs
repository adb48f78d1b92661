//! Spans of time as users write them.

use fastrand::Rng;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A span in nanoseconds, written as a number and a unit: `300 ns`, `1.5 us`, `10 ms`, `2 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u64);

/// The longest span that can be written: a day.
const LONGEST: f64 = 86_400e9;

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            _ => return Err(format!("`{text}` is no time: write a number and ns, us, ms or s")),
        };
        match number.trim().parse::<f64>() {
            Ok(number) if number >= 0.0 && number * scale <= LONGEST => {
                Ok(Self((number * scale).round() as u64))
            }
            _ => Err(format!("`{text}` is no time from 0 ns to 86400 s")),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A span that is drawn each time it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Fixed(u64),
    /// Exponentially distributed around this mean.
    Exponential(u64),
    /// Uniform from the one to the other, both included.
    Uniform(u64, u64),
}

impl Time {
    /// Nanoseconds.
    pub fn draw(self, random: &mut Rng) -> u64 {
        match self {
            Self::Fixed(ns) => ns,
            // 1 - f64() is in (0, 1], so the logarithm is finite.
            Self::Exponential(mean) => (-(1.0 - random.f64()).ln() * mean as f64).round() as u64,
            Self::Uniform(least, most) => random.u64(least..=most),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a time, { exponential = TIME }, or { uniform = [TIME, TIME] }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse::<Span>().map(|span| Time::Fixed(span.0)).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Time, A::Error> {
                let name: String =
                    map.next_key()?.ok_or_else(|| A::Error::custom("a distribution is missing"))?;
                match name.as_str() {
                    "exponential" => Ok(Time::Exponential(map.next_value::<Span>()?.0)),
                    "uniform" => {
                        let [least, most] = map.next_value::<[Span; 2]>()?;
                        if least.0 > most.0 {
                            return Err(A::Error::custom("the first time is longer than the second"));
                        }
                        Ok(Time::Uniform(least.0, most.0))
                    }
                    other => Err(A::Error::unknown_field(other, &["exponential", "uniform"])),
                }
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        let parse = |text: &str| text.parse::<Span>().map(|span| span.0);
        assert_eq!(parse("1.5us"), Ok(1_500));
        assert_eq!(parse("10 ms"), Ok(10_000_000));
        assert!(
            parse("10").is_err() && parse("-1 s").is_err() && parse("x ns").is_err() && parse("1 h").is_err()
        );
    }

    #[test]
    fn draws_have_the_mean_that_was_asked_for() {
        let mut random = Rng::with_seed(1);
        for (time, mean) in [(Time::Exponential(1_000), 1_000.0), (Time::Uniform(0, 2_000), 1_000.0)] {
            let sum: u64 = (0..100_000).map(|_| time.draw(&mut random)).sum();
            assert!((sum as f64 / 1e5 - mean).abs() < 20.0, "{time:?}");
        }
    }
}

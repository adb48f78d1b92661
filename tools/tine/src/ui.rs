//! What `tine` itself tells the user while it works. Results go elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How much to say on standard error. Copied to wherever something may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ui {
    /// Nothing, for tests.
    Quiet,
    /// A line per decision, and progress of what takes long.
    Talkative,
}

impl Ui {
    /// Says one line.
    pub fn note(self, line: impl AsRef<str>) {
        if self == Self::Talkative {
            eprintln!("tine: {}", line.as_ref());
        }
    }

    /// Says what takes long now, and shows on a terminal that it is still going on until the guard is dropped.
    pub fn long(self, what: &str) -> Busy {
        self.note(format!("{what}…"));
        let bar = match self {
            Self::Quiet => ProgressBar::hidden(),
            Self::Talkative => ProgressBar::new_spinner(),
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Busy(bar)
    }
}

/// Something that takes long is going on.
pub struct Busy(ProgressBar);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

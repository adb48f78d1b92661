//! What threads are called, and to which process they belong.

use formats::ThreadId;
use formats::trace::{Event, Trace};
use std::collections::BTreeMap;

/// One thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Its last name.
    pub name: Option<String>,
    pub process: Option<u32>,
    pub parent: Option<ThreadId>,
}

/// All threads that are named in a trace.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    threads: BTreeMap<ThreadId, Label>,
}

impl Labels {
    pub fn of(trace: &Trace) -> Self {
        let mut labels: Vec<_> = trace
            .tracks
            .iter()
            .flat_map(|track| &track.events)
            .filter(|(_, event)| matches!(event, Event::Born { .. } | Event::Named { .. }))
            .collect();
        labels.sort_by_key(|(time, _)| *time);
        let mut threads: BTreeMap<ThreadId, Label> = BTreeMap::new();
        for (_, event) in labels {
            match *event {
                Event::Born { thread, process, parent } => {
                    let label = threads.entry(thread).or_default();
                    (label.process, label.parent) = (Some(process), Some(parent));
                }
                Event::Named { thread, name } => {
                    threads.entry(thread).or_default().name = Some(name.to_string());
                }
                _ => {}
            }
        }
        Self { threads }
    }

    /// The name, and where it is not known a stand-in.
    pub fn name(&self, thread: ThreadId) -> &str {
        let name = self.threads.get(&thread).and_then(|label| label.name.as_deref());
        name.filter(|name| !name.is_empty()).unwrap_or("thread")
    }

    /// Name and number.
    pub fn full(&self, thread: ThreadId) -> String {
        format!("{} {}", self.name(thread), thread.0)
    }

    /// The process of `thread`; where it is not known, that which the thread would be alone in.
    pub fn process(&self, thread: ThreadId) -> u32 {
        self.threads.get(&thread).and_then(|label| label.process).unwrap_or(thread.0)
    }

    /// All threads that are known.
    pub fn iter(&self) -> impl Iterator<Item = (ThreadId, &Label)> {
        self.threads.iter().map(|(thread, label)| (*thread, label))
    }
}

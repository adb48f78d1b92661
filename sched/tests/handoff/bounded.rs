//! A scheduler for the checker that leaves nothing out: all schedules with at most so many preemptions.
//!
//! M. Musuvathi and S. Qadeer, "Iterative context bounding for systematic testing of multithreaded programs", PLDI 2007: the
//! number of schedules is polynomial in the length of the program once preemptions are bounded, and faults in
//! concurrent programs need few of them. A CPU that waits gives way for nothing, and
//! so does one that spins until another does something, to the next in turn.

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A point at which there was more than one way to go on.
struct Choice {
    options: Vec<TaskId>,
    taken: usize,
    /// Whether the task that ran may go on, or gives way to the next by itself: each option but the first is a preemption.
    preempts: bool,
}

impl Choice {
    fn cost(&self) -> usize {
        usize::from(self.preempts && self.taken > 0)
    }

    fn chosen(&self) -> TaskId {
        self.options[self.taken]
    }
}

/// Explores depth first.
pub struct Bounded {
    most: usize,
    path: Vec<Choice>,
    /// How much of `path` the present execution has followed.
    depth: usize,
    explored: Arc<AtomicU64>,
}

impl Bounded {
    /// All schedules with at most `most` preemptions; `explored` counts them.
    pub fn new(most: usize, explored: Arc<AtomicU64>) -> Self {
        Self { most, path: Vec::new(), depth: 0, explored }
    }

    /// Turns to the next option at the last choice that has one; false if none has.
    fn advance(&mut self) -> bool {
        while let Some(mut last) = self.path.pop() {
            last.taken += 1;
            let before: usize = self.path.iter().map(Choice::cost).sum();
            if last.taken < last.options.len() && before + last.cost() <= self.most {
                self.path.push(last);
                return true;
            }
        }
        false
    }
}

impl Scheduler for Bounded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.explored.load(Relaxed) > 0 && !self.advance() {
            return None;
        }
        self.explored.fetch_add(1, Relaxed);
        self.depth = 0;
        Some(Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        let mut options: Vec<TaskId> = runnable.iter().map(|task| task.id()).collect();
        let own = current.and_then(|current| options.iter().position(|option| *option == current));
        match own {
            Some(own) if yields && options.len() > 1 => {
                // All others have their turn before it: whom it spins for must not be kept waiting by others that spin.
                options.rotate_left(own);
                options.remove(0);
            }
            Some(own) => options.swap(0, own),
            None => {}
        }
        let preempts = own.is_some();
        if options.len() == 1 {
            return options.pop();
        }
        if self.depth == self.path.len() {
            self.path.push(Choice { options, taken: 0, preempts });
        }
        let choice = &self.path[self.depth];
        self.depth += 1;
        Some(choice.chosen())
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("nothing that is checked draws lots from the checker")
    }
}

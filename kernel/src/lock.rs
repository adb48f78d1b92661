//! The order in which locks are taken.
//!
//! A lock may be taken only while all locks held have a lower rank; builds with debug assertions check it. The locks of
//! `mm` and of the scheduler rank above all of these, so that any of these may be held while memory is allocated or
//! a thread is woken.

pub use arch::sync::Lock;

/// From the outermost lock to the innermost; `arch::sync::rank` goes on from `SPACE`, 20.
pub mod rank {
    /// The offset of an open file description, held while a file is read or written: that may look at everything.
    pub const DESCRIPTION: u8 = 0;
    /// One shard of the process table.
    pub const TABLE: u8 = 1;
    /// A process's children.
    pub const FAMILY: u8 = 2;
    /// A process's list of threads.
    pub const THREADS: u8 = 3;
    /// One field of a process: its files, directory, names.
    pub const PROCESS: u8 = 4;
    /// Putting one event poll into another.
    pub const NESTING: u8 = 5;
    /// The System V objects of one kind.
    pub const IPC_TABLE: u8 = 5;
    /// A process's table of file descriptors.
    pub const FILE_TABLE: u8 = 6;
    /// Which CPUs come and go.
    pub const HOTPLUG: u8 = 7;
    /// The policies in force.
    pub const POLICIES: u8 = 8;
    /// Changing names, and the content of files.
    pub const NAMES: u8 = 9;
    pub const CONTENT: u8 = 9;
    /// One System V object.
    pub const IPC: u8 = 9;
    /// What is behind descriptions: a pipe's buffer, a directory.
    pub const FILE: u8 = 10;
    /// Which event polls look at a description.
    pub const WATCHED: u8 = 11;
    /// The timers of a process.
    pub const PROCESS_TIMERS: u8 = 11;
    /// Signal actions and queues.
    pub const SIGNAL: u8 = 12;
    /// One timer of a process.
    pub const INTERVAL: u8 = 13;
    /// A bucket of the futex table.
    pub const FUTEX: u8 = 14;
    /// What an event poll has found ready.
    pub const READY: u8 = 15;
    /// All locks with priority inheritance that somebody waits for, and then what a thread has to do with them. User memory is
    /// touched while the first is held.
    pub const PI: u8 = 15;
    pub const PI_THREAD: u8 = 17;
    /// A queue of waiting threads.
    pub const WAIT: u8 = 16;
    /// One CPU's queue of timers.
    pub const TIMERS: u8 = 18;
    /// Which memory a process has. Page faults ask for it while user memory is copied, whatever is held then.
    pub const MEMORY: u8 = 19;
}

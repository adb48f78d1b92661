//! The line discipline: from what is typed to what can be read (N_TTY; man 3 termios).
//!
//! Pure state: knows neither processes nor ports. What must be done outside comes back as [`Effects`].

use super::output::Cursor;
use super::termios::{Special, Termios};
use crate::signal::Signal;
use alloc::{collections::VecDeque, vec::Vec};
use linux_raw_sys::general as linux;

/// The most that can wait to be read (`MAX_CANON`, `MAX_INPUT` are below that; Linux's `N_TTY_BUF_SIZE`).
pub const CAPACITY: usize = 4096;

/// A byte that waits to be read.
#[derive(Clone, Copy, Debug)]
struct Cell {
    byte: u8,
    end: End,
}

/// Whether a line ends with a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    /// It is the last of its line.
    Line,
    /// It stands for the end of the file, and is not read itself.
    File,
}

/// What receiving a byte demands of others.
#[derive(Debug, Default)]
pub struct Effects {
    /// Bytes for the display.
    pub echo: Vec<u8>,
    /// For the processes in the foreground.
    pub signals: Vec<Signal>,
    /// Output is to stop or to go on.
    pub flow: Option<Flow>,
    /// What was waiting to be read, and what was to be written, is to be forgotten.
    pub flush: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Stop,
    Go,
}

#[derive(Debug)]
pub struct Discipline {
    termios: Termios,
    cells: VecDeque<Cell>,
    /// How many cells at the end are a line that is still edited.
    edited: usize,
    /// How many lines can be read.
    lines: usize,
    /// The next byte is taken literally.
    literal: bool,
    pub cursor: Cursor,
    /// Where the line that is edited began.
    line_column: usize,
}

impl Discipline {
    pub const fn new(termios: Termios) -> Self {
        Self {
            termios,
            cells: VecDeque::new(),
            edited: 0,
            lines: 0,
            literal: false,
            cursor: Cursor { column: 0 },
            line_column: 0,
        }
    }

    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Takes other settings into use. What was typed stays: what is there becomes readable when lines are no longer
    /// edited, and one line when they are again.
    pub fn set_termios(&mut self, termios: Termios) {
        let (was, is) = (self.termios.is_canonical(), termios.is_canonical());
        self.termios = termios;
        if was != is {
            self.cells.iter_mut().for_each(|cell| cell.end = End::No);
            (self.edited, self.lines, self.literal) = (0, 0, false);
            if is && let Some(last) = self.cells.back_mut() {
                last.end = End::Line;
                self.lines = 1;
            }
        }
    }

    /// Forgets what was typed.
    pub fn flush(&mut self) {
        self.cells = VecDeque::new();
        (self.edited, self.lines, self.literal) = (0, 0, false);
    }

    /// How many more bytes can be taken.
    pub fn room(&self) -> usize {
        CAPACITY - 1 - self.cells.len().min(CAPACITY - 1)
    }

    /// Whether a byte would be refused for want of room: a line that can be read, or raw bytes, must be read first.
    pub fn is_full(&self) -> bool {
        self.room() == 0 && (!self.termios.is_canonical() || self.lines > 0)
    }

    /// Whether a read would find something; raw reads ask for `least` bytes.
    pub fn is_readable(&self, least: usize) -> bool {
        if self.termios.is_canonical() { self.lines > 0 } else { self.cells.len() >= least.max(1) }
    }

    /// FIONREAD.
    pub fn readable_bytes(&self) -> usize {
        if !self.termios.is_canonical() {
            return self.cells.len();
        }
        self.cells.iter().take(self.cells.len() - self.edited).filter(|cell| cell.end != End::File).count()
    }

    /// Takes at most `most` bytes, and at most one line of edited input. An empty line is the end of the file.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        if !self.termios.is_canonical() {
            taken.extend(self.cells.drain(..most.min(self.cells.len())).map(|cell| cell.byte));
        } else if self.lines > 0 {
            while taken.len() < most || self.cells.front().is_some_and(|cell| cell.end == End::File) {
                let Some(cell) = self.cells.pop_front() else { break };
                if cell.end != End::File {
                    taken.push(cell.byte);
                }
                if cell.end != End::No {
                    self.lines -= 1;
                    break;
                }
            }
        }
        if self.cells.is_empty() {
            self.cells = VecDeque::new();
        }
        taken
    }

    /// Takes a byte from the port.
    pub fn receive(&mut self, mut byte: u8, effects: &mut Effects) {
        let termios = self.termios;
        if termios.has_input(linux::ISTRIP) {
            byte &= 0x7f;
        }
        if core::mem::take(&mut self.literal) {
            return self.store(byte, effects);
        }
        if termios.has_input(linux::IXON) {
            if termios.is(byte, Special::Start) {
                effects.flow = Some(Flow::Go);
                return;
            }
            if termios.is(byte, Special::Stop) {
                effects.flow = Some(Flow::Stop);
                return;
            }
        }
        if termios.has_input(linux::IXANY) {
            effects.flow = Some(Flow::Go);
        }
        if termios.has_local(linux::ISIG)
            && let Some(signal) = signal_of(&termios, byte)
        {
            return self.interrupt(byte, signal, effects);
        }
        match byte {
            b'\r' if termios.has_input(linux::IGNCR) => return,
            b'\r' if termios.has_input(linux::ICRNL) => byte = b'\n',
            b'\n' if termios.has_input(linux::INLCR) => byte = b'\r',
            _ => {}
        }
        if termios.is_canonical() { self.edit(byte, effects) } else { self.store(byte, effects) }
    }

    fn interrupt(&mut self, byte: u8, signal: Signal, effects: &mut Effects) {
        if !self.termios.has_local(linux::NOFLSH) {
            self.flush();
            effects.flush = true;
        }
        if self.termios.has_input(linux::IXON) {
            effects.flow = Some(Flow::Go);
        }
        effects.signals.push(signal);
        self.echo(byte, effects);
    }

    /// A byte of a line that is edited.
    fn edit(&mut self, byte: u8, effects: &mut Effects) {
        let termios = self.termios;
        let extended = termios.has_local(linux::IEXTEN);
        let echoes = termios.has_local(linux::ECHO);
        if termios.is(byte, Special::Erase) {
            self.erase_character(effects);
        } else if termios.is(byte, Special::Kill) {
            self.erase_line(effects);
        } else if extended && termios.is(byte, Special::WordErase) {
            self.erase_word(effects);
        } else if extended && termios.is(byte, Special::LiteralNext) {
            self.literal = true;
            if echoes && termios.has_local(linux::ECHOCTL) {
                self.display(b"^\x08", effects);
            }
        } else if extended && echoes && termios.is(byte, Special::Reprint) {
            self.reprint(byte, effects);
        } else if byte == b'\n' {
            if echoes || termios.has_local(linux::ECHONL) {
                self.display(b"\n", effects);
            }
            self.end_line(byte, End::Line);
        } else if termios.is(byte, Special::EndOfFile) {
            self.end_line(0, End::File);
        } else if termios.is(byte, Special::EndOfLine) || extended && termios.is(byte, Special::EndOfLine2) {
            self.echo(byte, effects);
            self.end_line(byte, End::Line);
        } else {
            self.store(byte, effects);
        }
    }

    /// An ordinary byte.
    fn store(&mut self, byte: u8, effects: &mut Effects) {
        if self.room() == 0 {
            if self.termios.has_input(linux::IMAXBEL) {
                effects.echo.push(0x07);
            }
            return;
        }
        let is_edited = self.termios.is_canonical();
        if self.termios.has_local(linux::ECHO) {
            if self.edited == 0 {
                self.line_column = self.cursor.column;
            }
            if byte == b'\n' {
                self.display(b"\n", effects);
            } else {
                self.echo(byte, effects);
            }
        }
        self.edited += usize::from(is_edited);
        self.cells.push_back(Cell { byte, end: End::No });
    }

    /// The line is complete. There is always room for its end.
    fn end_line(&mut self, byte: u8, end: End) {
        self.cells.push_back(Cell { byte, end });
        self.edited = 0;
        self.lines += 1;
    }

    /// Shows a byte that was typed, control characters as `^X`.
    fn echo(&mut self, byte: u8, effects: &mut Effects) {
        if !self.termios.has_local(linux::ECHO) {
            return;
        }
        if self.shows_as_two(byte) {
            self.display(&[b'^', byte ^ 0x40], effects);
        } else {
            self.display(&[byte], effects);
        }
    }

    fn shows_as_two(&self, byte: u8) -> bool {
        self.termios.has_local(linux::ECHOCTL) && byte.is_ascii_control() && byte != b'\t'
    }

    fn display(&mut self, bytes: &[u8], effects: &mut Effects) {
        for byte in bytes {
            self.cursor.put(*byte, &self.termios, &mut effects.echo);
        }
    }

    /// Takes the last byte of the line that is edited.
    fn pop(&mut self) -> Option<u8> {
        if self.edited == 0 {
            return None;
        }
        self.edited -= 1;
        self.cells.pop_back().map(|cell| cell.byte)
    }

    fn last(&self) -> Option<u8> {
        self.cells.back().filter(|_| self.edited > 0).map(|cell| cell.byte)
    }

    /// Takes one character, of several bytes in UTF-8, and wipes it from the display. False when there is none.
    fn erase_one(&mut self, effects: &mut Effects) -> bool {
        let Some(mut byte) = self.pop() else { return false };
        if self.termios.has_input(linux::IUTF8) {
            while byte & 0xc0 == 0x80
                && let Some(before) = self.pop()
            {
                byte = before;
            }
        }
        if !self.termios.has_local(linux::ECHO) {
            return true;
        }
        if !self.termios.has_local(linux::ECHOE) {
            let erase = self.termios.character(Special::Erase);
            self.echo(erase, effects);
        } else if byte == b'\t' {
            let width = self.cursor.column.saturating_sub(self.line_end());
            for _ in 0..width {
                self.display(b"\x08", effects);
            }
        } else {
            let places = if self.shows_as_two(byte) { 2 } else { usize::from(!byte.is_ascii_control()) };
            for _ in 0..places {
                self.display(b"\x08 \x08", effects);
            }
        }
        true
    }

    /// The column behind the line that is edited.
    fn line_end(&self) -> usize {
        let mut cursor = Cursor { column: self.line_column };
        let mut nowhere = Vec::new();
        for cell in self.cells.iter().skip(self.cells.len() - self.edited) {
            if self.shows_as_two(cell.byte) {
                cursor.column += 2;
            } else {
                cursor.put(cell.byte, &self.termios, &mut nowhere);
            }
        }
        cursor.column
    }

    fn erase_character(&mut self, effects: &mut Effects) {
        self.erase_one(effects);
    }

    fn erase_word(&mut self, effects: &mut Effects) {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        while self.last().is_some_and(|byte| !is_word(byte)) && self.erase_one(effects) {}
        while self.last().is_some_and(is_word) && self.erase_one(effects) {}
    }

    fn erase_line(&mut self, effects: &mut Effects) {
        let wipes = linux::ECHOK | linux::ECHOKE | linux::ECHOE;
        if self.termios.has_local(linux::ECHO) && self.termios.local & wipes != wipes {
            while self.pop().is_some() {}
            let kill = self.termios.character(Special::Kill);
            self.echo(kill, effects);
            if self.termios.has_local(linux::ECHOK) {
                self.display(b"\n", effects);
            }
            return;
        }
        while self.erase_one(effects) {}
    }

    /// Shows the line that is edited once more, on a line of its own.
    fn reprint(&mut self, byte: u8, effects: &mut Effects) {
        self.echo(byte, effects);
        self.display(b"\n", effects);
        self.line_column = self.cursor.column;
        let start = self.cells.len() - self.edited;
        for at in start..self.cells.len() {
            self.echo(self.cells[at].byte, effects);
        }
    }
}

fn signal_of(termios: &Termios, byte: u8) -> Option<Signal> {
    const SIGNALS: [(Special, Signal); 3] =
        [(Special::Interrupt, Signal::INT), (Special::Quit, Signal::QUIT), (Special::Suspend, Signal::TSTP)];
    SIGNALS.iter().find(|(special, _)| termios.is(byte, *special)).map(|(_, signal)| *signal)
}

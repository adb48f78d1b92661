//! How a terminal treats what is typed and what is written: `struct termios` (man 3 termios, man 2 ioctl_tty).

use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The kernel's `struct termios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Termios {
    pub input: u32,
    pub output: u32,
    pub control: u32,
    pub local: u32,
    line: u8,
    characters: [u8; linux::NCCS as usize],
}

/// `struct termios2`: with speeds as numbers.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Termios2 {
    pub termios: Termios,
    input_speed: u32,
    output_speed: u32,
}

const SPEED: u32 = 38400;

/// What a special character that is switched off is set to (`_POSIX_VDISABLE`).
const DISABLED: u8 = 0;

/// The special characters, by their place in `c_cc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Special {
    Interrupt = linux::VINTR as u8,
    Quit = linux::VQUIT as u8,
    Erase = linux::VERASE as u8,
    Kill = linux::VKILL as u8,
    EndOfFile = linux::VEOF as u8,
    Start = linux::VSTART as u8,
    Stop = linux::VSTOP as u8,
    Suspend = linux::VSUSP as u8,
    EndOfLine = linux::VEOL as u8,
    Reprint = linux::VREPRINT as u8,
    WordErase = linux::VWERASE as u8,
    LiteralNext = linux::VLNEXT as u8,
    EndOfLine2 = linux::VEOL2 as u8,
}

impl Termios {
    /// As a terminal comes up on Linux.
    pub const COOKED: Self = {
        let mut characters = [DISABLED; linux::NCCS as usize];
        characters[linux::VINTR as usize] = 0x03;
        characters[linux::VQUIT as usize] = 0x1c;
        characters[linux::VERASE as usize] = 0x7f;
        characters[linux::VKILL as usize] = 0x15;
        characters[linux::VEOF as usize] = 0x04;
        characters[linux::VMIN as usize] = 1;
        characters[linux::VSTART as usize] = 0x11;
        characters[linux::VSTOP as usize] = 0x13;
        characters[linux::VSUSP as usize] = 0x1a;
        characters[linux::VREPRINT as usize] = 0x12;
        characters[linux::VDISCARD as usize] = 0x0f;
        characters[linux::VWERASE as usize] = 0x17;
        characters[linux::VLNEXT as usize] = 0x16;
        Self {
            input: linux::ICRNL | linux::IXON,
            output: linux::OPOST | linux::ONLCR,
            control: linux::B38400 | linux::CS8 | linux::CREAD,
            local: linux::ISIG
                | linux::ICANON
                | linux::ECHO
                | linux::ECHOE
                | linux::ECHOK
                | linux::ECHOCTL
                | linux::ECHOKE
                | linux::IEXTEN,
            line: 0,
            characters,
        }
    };

    /// A console that nobody types at: what is written passes as it is.
    pub const OUTPUT_ONLY: Self = Self { output: 0, ..Self::COOKED };

    pub fn has_input(&self, flag: u32) -> bool {
        self.input & flag != 0
    }

    pub fn has_output(&self, flag: u32) -> bool {
        self.output & flag != 0
    }

    pub fn has_local(&self, flag: u32) -> bool {
        self.local & flag != 0
    }

    /// Whether lines are edited before they can be read.
    pub fn is_canonical(&self) -> bool {
        self.has_local(linux::ICANON)
    }

    /// The character for `which`.
    pub fn character(&self, which: Special) -> u8 {
        self.characters[which as usize]
    }

    /// Whether `byte` is the character for `which`, and that is not switched off.
    pub fn is(&self, byte: u8, which: Special) -> bool {
        byte != DISABLED && self.character(which) == byte
    }

    /// VMIN: how many bytes a raw read waits for.
    pub fn least(&self) -> usize {
        self.characters[linux::VMIN as usize].into()
    }

    /// VTIME in tenths of a second.
    pub fn patience(&self) -> u64 {
        self.characters[linux::VTIME as usize].into()
    }
}

impl Termios2 {
    pub fn of(termios: Termios) -> Self {
        Self { termios, input_speed: SPEED, output_speed: SPEED }
    }
}

/// `struct winsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
    pub pixel_width: u16,
    pub pixel_height: u16,
}

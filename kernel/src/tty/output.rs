//! What becomes of bytes that are written to a terminal: `c_oflag` (man 3 termios).

use super::termios::Termios;
use alloc::vec::Vec;
use linux_raw_sys::general as linux;

/// Columns between two tab stops.
const TAB: usize = 8;

/// Where the cursor is. The display itself is somebody else's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    pub column: usize,
}

impl Cursor {
    /// Appends to `out` what `byte` becomes.
    pub fn put(&mut self, byte: u8, termios: &Termios, out: &mut Vec<u8>) {
        if !termios.has_output(linux::OPOST) {
            self.advance(byte);
            out.push(byte);
            return;
        }
        match byte {
            b'\n' => {
                if termios.has_output(linux::ONLRET) {
                    self.column = 0;
                }
                if termios.has_output(linux::ONLCR) {
                    self.column = 0;
                    out.push(b'\r');
                }
                out.push(b'\n');
            }
            b'\r' if termios.has_output(linux::ONOCR) && self.column == 0 => {}
            b'\r' if termios.has_output(linux::OCRNL) => {
                if termios.has_output(linux::ONLRET) {
                    self.column = 0;
                }
                out.push(b'\n');
            }
            b'\t' if termios.output & linux::TAB3 == linux::XTABS => {
                let spaces = TAB - self.column % TAB;
                self.column += spaces;
                out.resize(out.len() + spaces, b' ');
            }
            byte => {
                self.advance(byte);
                out.push(byte);
            }
        }
    }

    fn advance(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            b'\t' => self.column += TAB - self.column % TAB,
            0x08 => self.column = self.column.saturating_sub(1),
            // The further bytes of a character in UTF-8 take no place of their own.
            0x80..=0xbf => {}
            byte if !byte.is_ascii_control() => self.column += 1,
            _ => {}
        }
    }
}

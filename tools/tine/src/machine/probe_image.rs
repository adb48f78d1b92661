//! The smallest guest: an ELF of a few bytes that QEMU boots by PVH and that ends QEMU at once.
//!
//! See Xen's `docs/misc/pvh.pandoc` for the entry: 32-bit protected mode, flat segments.

/// What it writes to the exit device; QEMU exits with `(PASSED << 1) | 1`.
pub const PASSED: u8 = 0x2a;

const LOAD_ADDRESS: u32 = 0x10_0000;
/// `mov $0xf4, %dx; mov $PASSED, %al; out %al, (%dx); 1: hlt; jmp 1b`
const CODE: [u8; 10] = [0x66, 0xba, 0xf4, 0x00, 0xb0, PASSED, 0xee, 0xf4, 0xeb, 0xfd];

const HEADER: u32 = 52;
const SEGMENT: u32 = 32;
const NOTE: u32 = 20;
/// XEN_ELFNOTE_PHYS32_ENTRY of `xen/include/public/elfnote.h`.
const PHYS32_ENTRY: u32 = 18;

/// The file: header, two segments (code, note), the note, the code.
pub fn elf() -> Vec<u8> {
    let note_at = HEADER + 2 * SEGMENT;
    let code_at = note_at + NOTE;
    let entry = LOAD_ADDRESS + code_at;
    let size = code_at + CODE.len() as u32;

    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut halves = |values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    // An executable for the 80386.
    halves(&[2, 3]);
    let mut words = |values: &[u32]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    words(&[1, entry, HEADER, 0, 0]);
    let mut halves = |values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    halves(&[HEADER as u16, SEGMENT as u16, 2, 0, 0, 0]);
    let mut words = |values: &[u32]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    // PT_LOAD of the whole file, readable and executable; PT_NOTE.
    words(&[1, 0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 5, 4096]);
    words(&[4, note_at, LOAD_ADDRESS + note_at, LOAD_ADDRESS + note_at, NOTE, NOTE, 4, 4]);
    words(&[4, 4, PHYS32_ENTRY]);
    file.extend(b"Xen\0");
    file.extend(entry.to_le_bytes());
    file.extend(CODE);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_points_at_the_code() {
        let file = elf();
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(&file[file.len() - CODE.len()..], CODE);
        let entry = word(file.len() - CODE.len() - 4);
        assert_eq!(entry, word(24), "the same as the header's entry");
        assert_eq!((entry - LOAD_ADDRESS) as usize, file.len() - CODE.len());
    }
}

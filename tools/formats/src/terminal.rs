//! What the host sends to the guest's first serial port: what is typed, and what there is to say about the terminal.
//!
//! Bytes stand for themselves, but for [`MARK`], which begins an announcement: twice for itself, or with a letter for one
//! of the other [`Item`]s.

/// Data link escape.
pub const MARK: u8 = 0x10;
const END: u8 = b'E';
const SIZE: u8 = b'S';

/// One thing that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Byte(u8),
    /// The window's size in characters.
    Size {
        rows: u16,
        columns: u16,
    },
    /// No more will come.
    End,
}

impl Item {
    /// Gives `emit` each byte that is to be sent.
    pub fn encode(self, mut emit: impl FnMut(u8)) {
        match self {
            Self::Byte(MARK) => [MARK, MARK].into_iter().for_each(emit),
            Self::Byte(byte) => emit(byte),
            Self::End => [MARK, END].into_iter().for_each(emit),
            Self::Size { rows, columns } => {
                [MARK, SIZE]
                    .into_iter()
                    .chain(rows.to_le_bytes())
                    .chain(columns.to_le_bytes())
                    .for_each(emit);
            }
        }
    }
}

/// Takes apart what is received, byte by byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder(State);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Plain,
    Marked,
    /// Of a size, so many bytes are there.
    Size([u8; 4], usize),
}

impl Decoder {
    pub const fn new() -> Self {
        Self(State::Plain)
    }

    /// What is complete with `byte`, if anything is. An announcement that nobody knows is dropped.
    pub fn decode(&mut self, byte: u8) -> Option<Item> {
        let (next, item) = match self.0 {
            State::Plain if byte == MARK => (State::Marked, None),
            State::Plain => (State::Plain, Some(Item::Byte(byte))),
            State::Marked => match byte {
                MARK => (State::Plain, Some(Item::Byte(MARK))),
                END => (State::Plain, Some(Item::End)),
                SIZE => (State::Size([0; 4], 0), None),
                _ => (State::Plain, None),
            },
            State::Size(mut bytes, at) => {
                bytes[at] = byte;
                let [a, b, c, d] = bytes;
                let size =
                    Item::Size { rows: u16::from_le_bytes([a, b]), columns: u16::from_le_bytes([c, d]) };
                if at == 3 { (State::Plain, Some(size)) } else { (State::Size(bytes, at + 1), None) }
            }
        };
        self.0 = next;
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_sent_arrives() {
        let size = Item::Size { rows: 0x1010, columns: 80 };
        let sent: Vec<Item> = (0..=u8::MAX)
            .map(Item::Byte)
            .chain([size, Item::Byte(MARK), Item::Byte(b'E'), Item::End])
            .collect();
        let mut bytes = Vec::new();
        sent.iter().for_each(|item| item.encode(|byte| bytes.push(byte)));
        let mut decoder = Decoder::new();
        let received: Vec<Item> = bytes.into_iter().filter_map(|byte| decoder.decode(byte)).collect();
        assert_eq!(received, sent);
    }

    #[test]
    fn an_unknown_announcement_is_dropped() {
        let mut decoder = Decoder::new();
        let received: Vec<Item> =
            [MARK, b'?', b'x'].into_iter().filter_map(|byte| decoder.decode(byte)).collect();
        assert_eq!(received, [Item::Byte(b'x')]);
    }
}

//! Names for the kernel's own addresses, from the symbol table of the kernel file that the loader kept.

use core::fmt;
use elf::endian::LittleEndian;
use elf::parse::ParsingTable;
use elf::string_table::StringTable;
use elf::symbol::Symbol;
use elf::{ElfBytes, abi};
use spin::Once;

struct Symbols {
    table: ParsingTable<'static, LittleEndian, Symbol>,
    names: StringTable<'static>,
}

static SYMBOLS: Once<Option<Symbols>> = Once::new();

/// Remembers where the symbols are. A file without any leaves addresses as numbers.
pub fn init(kernel_file: &'static [u8]) {
    SYMBOLS.call_once(|| {
        let file = ElfBytes::<LittleEndian>::minimal_parse(kernel_file).ok()?;
        let (table, names) = file.symbol_table().ok()??;
        Some(Symbols { table, names })
    });
}

/// A code address that prints as `function+offset`.
pub struct Address(pub u64);

impl Address {
    /// The function around the address: its mangled name and where it starts.
    fn function(&self) -> Option<(&'static str, u64)> {
        let symbols = SYMBOLS.get()?.as_ref()?;
        let around = |address| {
            symbols.table.iter().find(|symbol| {
                symbol.st_symtype() == abi::STT_FUNC
                    && (symbol.st_value..symbol.st_value + symbol.st_size.max(1)).contains(&address)
            })
        };
        // A return address may lie behind the function that called, if the call never returns.
        let around = around(self.0).or_else(|| around(self.0.checked_sub(1)?))?;
        Some((symbols.names.get(around.st_name as usize).ok()?, around.st_value))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)?;
        match self.function() {
            Some((name, start)) => {
                write!(f, " {:#}+{:#x}", rustc_demangle::demangle(name), self.0 - start)
            }
            None => Ok(()),
        }
    }
}

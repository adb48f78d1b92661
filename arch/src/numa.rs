//! Memory nodes, from the firmware's tables: which processor belongs to which (SRAT), and how far they are apart (SLIT).
//! ACPI 6.5, 5.2.16 and 5.2.17. A table that is damaged counts as far as it can be read.

use crate::topology::ApicId;
use alloc::vec::Vec;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// What the tables say; nothing, where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// The node of each processor that is listed. Nodes are numbered from 0 in the order of their proximity domains.
    members: Vec<(ApicId, u32)>,
    /// Row by row, where 10 is local; empty: not known.
    distances: Vec<Vec<u8>>,
}

/// A table's header.
const HEADER: usize = 36;
/// What follows it in an SRAT before the first entry.
const RESERVED: usize = 12;

/// The beginning of each entry of an SRAT.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryHeader {
    kind: u8,
    bytes: u8,
}

/// Kind 0: a processor with an APIC id below 255.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ApicAffinity {
    header: EntryHeader,
    domain_low: u8,
    apic_id: u8,
    flags: U32,
    sapic_eid: u8,
    domain_high: [u8; 3],
}

/// Kind 2: any processor.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct X2ApicAffinity {
    header: EntryHeader,
    reserved: [u8; 2],
    domain: U32,
    apic_id: U32,
    flags: U32,
}

/// An entry counts.
const ENABLED: u32 = 1;

impl Nodes {
    /// Reads the tables, each with its header.
    pub fn read(srat: Option<&[u8]>, slit: Option<&[u8]>) -> Self {
        let listed = srat.map(affinities).unwrap_or_default();
        let mut domains: Vec<u32> = listed.iter().map(|(_, domain)| *domain).collect();
        domains.sort_unstable();
        domains.dedup();
        let node = |domain: u32| domains.partition_point(|known| *known < domain) as u32;
        let rows = slit.and_then(matrix).unwrap_or_default();
        let cell = |from: u32, to: u32| rows.get(from as usize)?.get(to as usize).copied();
        let row = |from: &u32| domains.iter().map(|to| cell(*from, *to)).collect::<Option<Vec<u8>>>();
        Self {
            distances: domains.iter().map(row).collect::<Option<_>>().unwrap_or_default(),
            members: listed.iter().map(|(apic, domain)| (*apic, node(*domain))).collect(),
        }
    }

    /// The node of a processor; 0 if the tables do not list it.
    pub fn of(&self, apic: ApicId) -> u32 {
        self.members.iter().find(|(id, _)| *id == apic).map_or(0, |(_, node)| *node)
    }

    /// How far each node's memory is for each node, where 10 is local; empty: not known.
    pub fn distances(&self) -> &[Vec<u8>] {
        &self.distances
    }
}

/// The processors that an SRAT lists, with their proximity domains.
fn affinities(srat: &[u8]) -> Vec<(ApicId, u32)> {
    let mut rest = srat.get(HEADER + RESERVED..).unwrap_or_default();
    let mut listed = Vec::new();
    while let Ok((header, _)) = EntryHeader::ref_from_prefix(rest) {
        let bytes = usize::from(header.bytes);
        let Some((entry, others)) = rest.split_at_checked(bytes).filter(|_| bytes > 0) else { break };
        listed.extend(match header.kind {
            0 => ApicAffinity::ref_from_prefix(entry).ok().and_then(|(it, _)| it.read()),
            2 => X2ApicAffinity::ref_from_prefix(entry).ok().and_then(|(it, _)| it.read()),
            _ => None,
        });
        rest = others;
    }
    listed
}

impl ApicAffinity {
    fn read(&self) -> Option<(ApicId, u32)> {
        let [high, higher, highest] = self.domain_high;
        let domain = u32::from_le_bytes([self.domain_low, high, higher, highest]);
        (self.flags.get() & ENABLED != 0).then_some((ApicId(self.apic_id.into()), domain))
    }
}

impl X2ApicAffinity {
    fn read(&self) -> Option<(ApicId, u32)> {
        (self.flags.get() & ENABLED != 0).then_some((ApicId(self.apic_id.get()), self.domain.get()))
    }
}

/// The rows of an SLIT.
fn matrix(slit: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (count, cells) = slit.get(HEADER..)?.split_first_chunk()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok().filter(|count| *count > 0)?;
    let cells = cells.get(..count.checked_mul(count)?)?;
    Some(cells.chunks(count).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srat(entries: &[&[u8]]) -> Vec<u8> {
        [&[0; HEADER + RESERVED], entries.concat().as_slice()].concat()
    }

    const IN_DOMAIN_1: [u8; 16] = [0, 16, 1, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const IN_DOMAIN_7: [u8; 24] =
        [2, 24, 0, 0, 7, 0, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const MEMORY: [u8; 40] = {
        let mut entry = [0; 40];
        (entry[0], entry[1]) = (1, 40);
        entry
    };

    #[test]
    fn processors_are_found_in_the_nodes_of_their_domains() {
        let table = srat(&[&IN_DOMAIN_1, &MEMORY, &IN_DOMAIN_7]);
        let nodes = Nodes::read(Some(&table), None);
        assert_eq!([4, 300, 5].map(|id| nodes.of(ApicId(id))), [0, 1, 0]);
        assert!(nodes.distances().is_empty());
    }

    #[test]
    fn distances_are_those_of_the_domains_that_have_processors() {
        let mut slit = vec![0; HEADER];
        slit.extend(8u64.to_le_bytes());
        slit.extend((0..64).map(|cell| cell as u8));
        let nodes = Nodes::read(Some(&srat(&[&IN_DOMAIN_7, &IN_DOMAIN_1])), Some(&slit));
        assert_eq!(nodes.distances(), [[9, 15], [57, 63]]);
    }

    #[test]
    fn damaged_tables_are_read_as_far_as_they_go() {
        let table = srat(&[&IN_DOMAIN_1, &IN_DOMAIN_7]);
        for end in 0..table.len() {
            Nodes::read(Some(&table[..end]), Some(&table[..end]));
        }
        let endless = srat(&[&[0, 0], &IN_DOMAIN_1]);
        assert_eq!(Nodes::read(Some(&endless), None), Nodes::default());
        let mut huge = vec![0; HEADER];
        huge.extend(u64::MAX.to_le_bytes());
        assert_eq!(Nodes::read(None, Some(&huge)), Nodes::default());
    }
}

//! The mark of a segment: a note at its front of how far it was on disk at some moment. The end of a log that was cut off, or
//! whose last frame is damaged, looks like one that was never written; a segment that ends before its mark is refused.
//!
//! A frame is noted only once it is on disk, so the mark never claims too much, whenever its own bytes get there. Two slots with
//! checksums are written in turn: a torn one leaves the other.

use serde::{Deserialize, Serialize};

/// Bytes of a slot: what a disk writes whole.
pub(super) const SLOT: usize = 512;
pub(super) const SLOTS: usize = 2;

/// What is on disk, at least.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The number of the last frame.
    pub(super) frame: u64,
    /// The index after the last entry.
    pub(super) end: u64,
}

impl Mark {
    /// A line of its checksum and itself, as JSON, filled up to a slot.
    pub(super) fn encode(self) -> serde_json::Result<Vec<u8>> {
        let json = serde_json::to_string(&self)?;
        let mut line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes();
        line.resize(SLOT, b' ');
        Ok(line)
    }

    /// The later one in the slots at the front of `segment`; `None`: nothing was noted.
    pub(super) fn decode(segment: &[u8]) -> Option<Self> {
        segment.chunks(SLOT).take(SLOTS).filter_map(Self::decode_slot).max_by_key(|mark| mark.frame)
    }

    /// `None` for what is torn, or was never written.
    fn decode_slot(slot: &[u8]) -> Option<Self> {
        let (line, _) = std::str::from_utf8(slot).ok()?.split_once('\n')?;
        let (sum, json) = line.split_once(' ')?;
        (sum == format!("{:08x}", crc32fast::hash(json.as_bytes()))).then(|| serde_json::from_str(json).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_slot_counts_and_a_torn_one_does_not() {
        let (older, newer) = (Mark { frame: 7, end: 70 }, Mark { frame: 8, end: 71 });
        let slots = |first: Mark, second: Mark| [first.encode().unwrap(), second.encode().unwrap()].concat();
        assert_eq!(Mark::decode(&slots(older, newer)), Some(newer));
        assert_eq!(Mark::decode(&slots(newer, older)), Some(newer));
        let mut torn = slots(newer, older);
        torn[12] ^= 1;
        assert_eq!(Mark::decode(&torn), Some(older));
        assert_eq!(Mark::decode(&[0; SLOT * SLOTS]), None);
    }
}

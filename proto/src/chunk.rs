//! A part of an export on the wire: many lines in one piece of memory, so that neither end takes memory for each of them. To other
//! programs it is the message `ExportedChunk` of `meta.proto`, byte for byte.

use std::fmt;

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType},
};

use crate::pb::Provenance;

/// Lines, one after the other, each with a newline after it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Lines {
    text: Vec<u8>,
    /// Where each line ends, after its newline.
    ends: Vec<usize>,
}

impl Lines {
    /// Room for as much as there is in `other`.
    pub fn with_room_of(other: &Lines) -> Lines {
        Lines { text: Vec::with_capacity(other.text.len()), ends: Vec::with_capacity(other.ends.len()) }
    }

    /// How many lines.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All lines with their newlines.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The lines without their newlines.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let line = &self.text[start..end - 1];
            start = end;
            line
        })
    }

    /// Adds a line, given without its newline.
    pub fn push(&mut self, line: &[u8]) {
        self.push_with(|text| text.extend_from_slice(line));
    }

    /// Adds the line that `write` appends. Returns its length.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.text.len();
        write(&mut self.text);
        let len = self.text.len().saturating_sub(start);
        self.text.push(b'\n');
        self.ends.push(self.text.len());
        len
    }

    /// Takes the last line out, as lines of its own with room for as much as there is here.
    pub fn split_last(&mut self) -> Lines {
        let mut last = Lines::with_room_of(self);
        self.ends.pop();
        let start = self.ends.last().copied().unwrap_or_default();
        last.text.extend_from_slice(&self.text[start..]);
        last.ends.extend((!last.text.is_empty()).then_some(last.text.len()));
        self.text.truncate(start);
        last
    }
}

impl<L: AsRef<[u8]>> FromIterator<L> for Lines {
    fn from_iter<I: IntoIterator<Item = L>>(lines: I) -> Lines {
        let mut all = Lines::default();
        lines.into_iter().for_each(|line| all.push(line.as_ref()));
        all
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

/// The message `ExportedChunk`. Its lines are text: what arrives is checked for it, what is sent must be.
#[derive(Clone, Debug, Default)]
pub struct ExportedChunk {
    pub data: Lines,
    pub provenance: Option<Provenance>,
    /// Where a line that arrives is checked for being text.
    arriving: String,
}

impl ExportedChunk {
    pub fn new(data: Lines, provenance: Option<Provenance>) -> ExportedChunk {
        ExportedChunk { data, provenance, arriving: String::new() }
    }
}

/// As in `meta.proto`.
const DATA: u32 = 10;
const PROVENANCE: u32 = 1000;

impl Message for ExportedChunk {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for line in self.data.iter() {
            encoding::encode_key(DATA, WireType::LengthDelimited, buf);
            encoding::encode_varint(line.len() as u64, buf);
            buf.put_slice(line);
        }
        if let Some(provenance) = &self.provenance {
            encoding::message::encode(PROVENANCE, provenance, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            DATA => {
                encoding::string::merge(wire_type, &mut self.arriving, buf, ctx)?;
                self.data.push(self.arriving.as_bytes());
                Ok(())
            }
            PROVENANCE => {
                let provenance = self.provenance.get_or_insert_default();
                encoding::message::merge(wire_type, provenance, buf, ctx)
            }
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let lines: usize =
            self.data.iter().map(|line| line.len() + encoding::encoded_len_varint(line.len() as u64)).sum();
        lines
            + self.data.len() * encoding::key_len(DATA)
            + self.provenance.as_ref().map_or(0, |provenance| encoding::message::encoded_len(PROVENANCE, provenance))
    }

    fn clear(&mut self) {
        *self = ExportedChunk::default();
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{ExportedChunk, Lines};
    use crate::pb::Provenance;

    /// What a compiler of protocols makes of the message.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Generated {
        #[prost(string, repeated, tag = "10")]
        data: Vec<String>,
        #[prost(message, optional, tag = "1000")]
        provenance: Option<Provenance>,
    }

    fn messages() -> Vec<Generated> {
        let provenance = Some(Provenance { cluster_id: "c".to_owned(), tail: 3, ..Provenance::default() });
        let long = "é".repeat(300_000);
        let all = [&[][..], &[""], &["a"], &["a", "", "bc", "\u{10ffff}"], &[&long, "x", &long[..126], &long[..128]]];
        let of = |lines: &[&str], provenance| Generated {
            data: lines.iter().map(|&line| line.to_owned()).collect(),
            provenance,
        };
        all.iter().flat_map(|lines| [of(lines, None), of(lines, provenance.clone())]).collect()
    }

    #[test]
    fn on_the_wire_it_is_the_message_of_the_protocol() {
        for message in messages() {
            let chunk = ExportedChunk::new(message.data.iter().collect(), message.provenance.clone());
            let bytes = message.encode_to_vec();
            assert!(chunk.encode_to_vec() == bytes && chunk.encoded_len() == bytes.len());
            let arrived = ExportedChunk::decode(&bytes[..]).unwrap();
            assert_eq!((&arrived.data, &arrived.provenance), (&chunk.data, &chunk.provenance));
        }
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        let bytes = [b"\x18\x07", &ExportedChunk::new(["a"].iter().collect(), None).encode_to_vec()[..]].concat();
        assert_eq!(ExportedChunk::decode(&bytes[..]).unwrap().data, ["a"].iter().collect());
    }

    #[test]
    fn what_is_no_such_message_is_an_error() {
        for bytes in
            [&b"\x52"[..], b"\x52\x02a", b"\x52\x01\xff", b"\x50\x01", b"\x52\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            let (ours, theirs) = (ExportedChunk::decode(bytes).err(), Generated::decode(bytes).err());
            assert!(ours.is_some() && theirs.is_some(), "{bytes:?}: {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn the_last_line_can_be_taken_out() {
        let mut lines: Lines = ["a", "", "bc"].iter().collect();
        assert_eq!((lines.text(), lines.len()), (&b"a\n\nbc\n"[..], 3));
        for rest in [&["a", ""][..], &["a"], &[]] {
            let last = lines.split_last();
            assert_eq!((last.len(), &lines), (1, &rest.iter().collect()));
        }
        assert!(lines.split_last().is_empty());
        assert_eq!(lines.iter().len(), 0);
    }
}

//! The one way in for a backup: bytes -> compression undone -> blocks of whole lines -> lines -> records, in order.
//!
//! Everything that reads a backup reads it here. A line is decoded by itself, given what the first line says of all of them, so
//! blocks may be decoded anywhere as long as their records are handed on in order. Knows nothing of what records mean together.

mod blocks;
mod compression;
mod error;
mod parallel;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read},
    mem,
    ops::Range,
};

use memchr::memchr;

use blocks::{Block, Blocks, Filled};
use compression::Plain;
use parallel::{Last, decode_blocks};

pub use compression::Compression;
pub(crate) use error::optional;
pub use error::{InputError, Reason};

use crate::{
    codec::{DecodeError, Version},
    export::MAX_LINE_BYTES,
    seal::{self, EnvelopeFault, Seal, SealFault},
    upgrade::{Decoded, Head, decode, head_of},
};

/// A line of a backup, as the record that it says.
#[derive(Debug)]
pub struct DecodedLine {
    /// From 1.
    pub number: u64,
    /// Of its text, newline included.
    pub bytes: usize,
    /// Bytes of the input, as it is, that were read by then.
    pub read_bytes: u64,
    pub decoded: Decoded,
}

/// Reads the records of a backup, one after the other.
pub struct Reader<'a> {
    name: String,
    head: Head,
    blocks: Blocks<Plain<'a>>,
    /// Whole lines, and how far they are handed on.
    block: Block,
    at: usize,
    lines: u64,
    seal: Option<Seal>,
}

impl<'a> Reader<'a> {
    /// Reads the first line of `input`. `name` is what errors call it: its path, or "standard input".
    ///
    /// # Errors
    ///
    /// The input can not be read, is empty, or does not begin as an export of a version that is read.
    pub fn open(input: impl Read + Send + 'a, name: &str) -> Result<Reader<'a>, InputError> {
        let plain = Plain::open(input).map_err(|source| InputError::Read { name: name.to_owned(), line: 0, source })?;
        let blocks = Blocks::new(plain, MAX_LINE_BYTES);
        let head = Head::default();
        let mut reader =
            Reader { name: name.to_owned(), head, blocks, block: Block::default(), at: 0, lines: 0, seal: None };
        reader.head = reader.first_line()?;
        Ok(reader)
    }

    /// Looks at the first line, which is handed on later.
    fn first_line(&mut self) -> Result<Head, InputError> {
        let Some(line) = self.next_line()? else { return Err(refused(&self.name, None, Reason::Empty)) };
        let head = match head_of(line) {
            Ok(head) => head,
            Err(error) => return Err(self.undecodable(error)),
        };
        (self.at, self.lines) = (0, 0);
        Ok(head)
    }

    /// The next record and the number of its line; `None` at the end, where a file that says it is sealed has proved that it is.
    pub fn next_record(&mut self) -> Result<Option<(u64, Decoded)>, InputError> {
        let version = self.head.version;
        let Some(line) = self.next_line()? else { return Ok(None) };
        decode(version, line).map(|record| Some((self.lines, record))).map_err(|error| self.undecodable(error))
    }

    /// Hands on every record that is left, in order, with the number of its line and how many bytes of the input, as it is, were
    /// read by then; see [`Reader::for_each_line`].
    pub fn for_each<E: From<InputError>>(
        &mut self,
        mut take: impl FnMut(u64, u64, Decoded) -> Result<(), E>,
    ) -> Result<(), E> {
        self.for_each_line(|line| take(line.number, line.read_bytes, line.decoded))
    }

    /// Hands on every line that is left, in order. Reads, decodes and hands on at once, on all processors; the first bad line, or
    /// the first error of `take`, ends it, and so does a seal that is not whole.
    pub fn for_each_line<E: From<InputError>>(
        &mut self,
        mut take: impl FnMut(DecodedLine) -> Result<(), E>,
    ) -> Result<(), E> {
        let (version, first) = (self.head.version, mem::take(&mut self.block).without_first(self.at));
        let lines = &mut self.lines;
        let last = decode_blocks(
            &mut self.blocks,
            first,
            |block| decode_block(version, block),
            |part| {
                let (records, bad) = part.decoded;
                for (bytes, decoded) in records {
                    *lines += 1;
                    let line = DecodedLine { number: *lines, bytes, read_bytes: part.read_bytes, decoded };
                    take(line).map_err(Stop::Taker)?;
                }
                bad.map_or(Ok(()), |bad| {
                    *lines += 1;
                    Err(Stop::Line(bad))
                })
            },
        );
        match last {
            Ok(Last { block, filled }) => {
                (self.block, self.at) = (block, 0);
                if self.begin_block(filled)? {
                    // The last line, which is alone in its block.
                    while let Some((number, decoded)) = self.next_record()? {
                        let (bytes, read_bytes) = (self.block.len(), self.read_bytes());
                        take(DecodedLine { number, bytes, read_bytes, decoded })?;
                    }
                }
                Ok(())
            }
            Err(Stop::Taker(error)) => Err(error),
            Err(Stop::Line(BadLine::NoText(reason))) => Err(self.refuse(reason).into()),
            Err(Stop::Line(BadLine::Undecodable(error))) => Err(self.undecodable(error).into()),
        }
    }

    /// The last line is no record. A seal is none; where one stands tells what is wrong.
    fn undecodable(&self, error: DecodeError) -> InputError {
        self.refuse(match error {
            DecodeError::Seal if !self.head.sealed => SealFault::Unmarked.into(),
            DecodeError::Seal => SealFault::NotLast.into(),
            error if self.head.version == Version::V0 && self.lines == 1 => Reason::NoHeader(error),
            error => error.into(),
        })
    }

    /// The next line, undecoded and without its newline; `None` at the end. The last line may lack its newline, no line may be
    /// empty. The seal is not handed on.
    pub fn next_line(&mut self) -> Result<Option<&str>, InputError> {
        if self.at == self.block.len() && !self.next_block()? {
            return Ok(None);
        }
        let line = self.take_line();
        text(&self.block[line]).map(Some).map_err(|reason| refused(&self.name, Some(self.lines), reason))
    }

    /// Fills the block again; `false` at the end.
    fn next_block(&mut self) -> Result<bool, InputError> {
        self.at = 0;
        let filled = self.blocks.fill(&mut self.block);
        self.begin_block(filled)
    }

    /// Whether the block that was filled holds lines to hand on.
    fn begin_block(&mut self, filled: io::Result<Filled>) -> Result<bool, InputError> {
        match filled.map_err(|error| self.failed(error))? {
            Filled::Lines => Ok(true),
            Filled::LastLine => self.check_last_line(),
            Filled::End if self.head.sealed && self.seal.is_none() => Err(self.refuse(SealFault::Missing.into())),
            Filled::End => Ok(false),
        }
    }

    /// The last line of a sealed file is its seal. `true`: of any other, it is a line like all others.
    fn check_last_line(&mut self) -> Result<bool, InputError> {
        let Some(hasher) = self.blocks.before_last_line().filter(|_| self.head.sealed) else { return Ok(true) };
        let before = self.lines;
        self.lines += 1;
        self.at = self.block.len();
        match seal::check(&self.block, hasher, before, self.head.version.name()) {
            Ok(seal) => self.seal = Some(seal),
            Err(fault) => return Err(self.refuse(fault.into())),
        }
        Ok(false)
    }

    /// Where the next line of the block is.
    fn take_line(&mut self) -> Range<usize> {
        let line = line_at(&self.block, self.at);
        self.at = (line.end + 1).min(self.block.len());
        self.lines += 1;
        line
    }

    /// The version that the first line tells.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// What errors call the input.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn compression(&self) -> Compression {
        self.blocks.input().compression()
    }

    /// Whether the first line says that the last one is a seal.
    pub fn is_sealed(&self) -> bool {
        self.head.sealed
    }

    /// Refuses a file that does not say that it is sealed.
    pub fn require_seal(&self) -> Result<(), InputError> {
        if self.head.sealed { Ok(()) } else { Err(refused(&self.name, None, Reason::Unsealed)) }
    }

    /// What the seal says; `None` before the end, and for a file without one.
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// Lines read so far: the number of the last one.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes of the lines read so far, newlines included and without any compression; at the end, all of them.
    pub fn bytes(&self) -> u64 {
        self.blocks.bytes()
    }

    /// Bytes of the input read so far, as it is: compressed.
    pub fn read_bytes(&self) -> u64 {
        self.blocks.input().read_bytes()
    }

    /// SHA-256 of the bytes that [`Reader::bytes`] counts.
    pub fn sha256(&self) -> [u8; 32] {
        self.blocks.sha256()
    }

    /// The last line is at fault.
    fn refuse(&self, reason: Reason) -> InputError {
        refused(&self.name, Some(self.lines), reason)
    }

    /// Reading failed. A decoder's complaint is told from that of a disk by the latter's number.
    fn failed(&self, source: io::Error) -> InputError {
        let (compression, lines) = (self.compression(), self.lines + self.blocks.withheld());
        if compression == Compression::None || source.raw_os_error().is_some() {
            return InputError::Read { name: self.name.clone(), line: lines, source };
        }
        let envelope = source.get_ref().and_then(|error| error.downcast_ref::<EnvelopeFault>()).copied();
        let reason = match (envelope, source.kind()) {
            (Some(fault), _) => Reason::Envelope { compression, fault },
            (None, io::ErrorKind::UnexpectedEof) => Reason::CompressedCut { compression, lines },
            (None, _) => Reason::CompressedDamaged { compression, lines, error: source.to_string() },
        };
        refused(&self.name, None, reason)
    }
}

fn refused(name: &str, line: Option<u64>, reason: Reason) -> InputError {
    InputError::Refused { name: name.to_owned(), line, reason }
}

/// A line that ends an input.
enum BadLine {
    NoText(Reason),
    Undecodable(DecodeError),
}

/// Why the records are no longer handed on.
enum Stop<E> {
    Line(BadLine),
    Taker(E),
}

/// The records of a block with the bytes of their lines, up to the first bad line.
fn decode_block(version: Version, block: &[u8]) -> (Vec<(usize, Decoded)>, Option<BadLine>) {
    let mut records = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let line = line_at(block, at);
        let start = at;
        at = (line.end + 1).min(block.len());
        let decoded = text(&block[line])
            .map_err(BadLine::NoText)
            .and_then(|line| decode(version, line).map_err(BadLine::Undecodable));
        match decoded {
            Ok(record) => {
                if records.is_empty() {
                    // Most often all lines are about as long.
                    records.reserve(block.len().min(blocks::BLOCK) / (at - start));
                }
                records.push((at - start, record));
            }
            Err(bad) => return (records, Some(bad)),
        }
    }
    (records, None)
}

/// Where the line that starts at `start` is.
fn line_at(block: &[u8], start: usize) -> Range<usize> {
    start..memchr(b'\n', &block[start..]).map_or(block.len(), |newline| start + newline)
}

/// A line as text, if it is one.
fn text(line: &[u8]) -> Result<&str, Reason> {
    match std::str::from_utf8(line) {
        _ if line.len() > MAX_LINE_BYTES => Err(Reason::LineTooLong { max: MAX_LINE_BYTES }),
        _ if line.is_empty() => Err(Reason::EmptyLine),
        Err(error) => Err(Reason::NotUtf8 { byte: error.valid_up_to() + 1 }),
        Ok(line) => Ok(line),
    }
}

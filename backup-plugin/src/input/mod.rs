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
    ops::Range,
};

use memchr::memchr;

use blocks::{Blocks, Filled};
use compression::Plain;
use parallel::{Last, decode_blocks};

pub use compression::Compression;
pub(crate) use error::optional;
pub use error::{InputError, Reason};

use crate::{
    codec::{DecodeError, Version},
    export::MAX_LINE_BYTES,
    upgrade::{Decoded, decode, version_of},
};

/// Reads the records of a backup, one after the other.
pub struct Reader<'a> {
    name: String,
    version: Version,
    blocks: Blocks<Plain<'a>>,
    /// Whole lines, and how far they are handed on.
    block: Vec<u8>,
    at: usize,
    lines: u64,
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
        let mut reader =
            Reader { name: name.to_owned(), version: Version::default(), blocks, block: Vec::new(), at: 0, lines: 0 };
        reader.version = reader.first_line()?;
        Ok(reader)
    }

    /// Looks at the first line, which is handed on later.
    fn first_line(&mut self) -> Result<Version, InputError> {
        let Some(line) = self.next_line()? else { return Err(refused(&self.name, None, Reason::Empty)) };
        let version = version_of(line).map_err(|error| self.refuse(error.into()))?;
        (self.at, self.lines) = (0, 0);
        Ok(version)
    }

    /// The next record and the number of its line; `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<(u64, Decoded)>, InputError> {
        let version = self.version;
        let Some(line) = self.next_line()? else { return Ok(None) };
        decode(version, line).map(|record| Some((self.lines, record))).map_err(|error| self.undecodable(error))
    }

    /// Hands on every record that is left, in order, with the number of its line and how many bytes of the input, as it is, were
    /// read by then. Reads, decodes and hands on at once, on all processors; the first bad line, or the first error of `take`,
    /// ends it.
    pub fn for_each<E: From<InputError>>(
        &mut self,
        mut take: impl FnMut(u64, u64, Decoded) -> Result<(), E>,
    ) -> Result<(), E> {
        let (version, first) = (self.version, self.block.split_off(self.at));
        let lines = &mut self.lines;
        let last = decode_blocks(
            &mut self.blocks,
            first,
            |block| decode_block(version, block),
            |part| {
                let (records, bad) = part.decoded;
                for record in records {
                    *lines += 1;
                    take(*lines, part.read_bytes, record).map_err(Stop::Taker)?;
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
                    while let Some((line, record)) = self.next_record()? {
                        take(line, self.read_bytes(), record)?;
                    }
                }
                Ok(())
            }
            Err(Stop::Taker(error)) => Err(error),
            Err(Stop::Line(BadLine::NoText(reason))) => Err(self.refuse(reason).into()),
            Err(Stop::Line(BadLine::Undecodable(error))) => Err(self.undecodable(error).into()),
        }
    }

    /// The last line is no record.
    fn undecodable(&self, error: DecodeError) -> InputError {
        if self.version == Version::V0 && self.lines == 1 {
            return self.refuse(Reason::NoHeader(error));
        }
        self.refuse(error.into())
    }

    /// The next line, undecoded and without its newline; `None` at the end. The last line may lack its newline, no line may be
    /// empty.
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

    /// Whether the block that was filled holds lines.
    fn begin_block(&self, filled: io::Result<Filled>) -> Result<bool, InputError> {
        let filled = filled.map_err(|error| self.failed(error))?;
        Ok(filled != Filled::End)
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
        self.version
    }

    /// What errors call the input.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn compression(&self) -> Compression {
        self.blocks.input().compression()
    }

    /// Lines handed on so far: the number of the last one.
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
        let (compression, lines) = (self.compression(), self.lines);
        if compression == Compression::None || source.raw_os_error().is_some() {
            return InputError::Read { name: self.name.clone(), line: lines, source };
        }
        let reason = match source.kind() {
            io::ErrorKind::UnexpectedEof => Reason::CompressedCut { compression, lines },
            _ => Reason::CompressedDamaged { compression, lines, error: source.to_string() },
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

/// The records of a block, up to the first bad line.
fn decode_block(version: Version, block: &[u8]) -> (Vec<Decoded>, Option<BadLine>) {
    let mut records = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let line = line_at(block, at);
        at = line.end + 1;
        let decoded = text(&block[line])
            .map_err(BadLine::NoText)
            .and_then(|line| decode(version, line).map_err(BadLine::Undecodable));
        match decoded {
            Ok(record) => records.push(record),
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

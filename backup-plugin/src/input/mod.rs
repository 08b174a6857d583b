//! The one way in for a backup: bytes -> compression undone -> blocks of whole lines -> lines -> records, in order.
//!
//! Everything that reads a backup reads it here. A line is decoded by itself, given what the first line says of all of them, so
//! blocks may be decoded anywhere as long as their records are handed on in order. Knows nothing of what records mean together.

mod blocks;
mod compression;
mod error;

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

pub use compression::Compression;
pub(crate) use error::optional;
pub use error::{InputError, Reason};

use crate::{
    codec::Version,
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
        match decode(version, line) {
            Ok(record) => Ok(Some((self.lines, record))),
            Err(error) if version == Version::V0 && self.lines == 1 => Err(self.refuse(Reason::NoHeader(error))),
            Err(error) => Err(self.refuse(error.into())),
        }
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
        let filled = self.blocks.fill(&mut self.block).map_err(|error| self.failed(error))?;
        Ok(filled != Filled::End)
    }

    /// Where the next line of the block is.
    fn take_line(&mut self) -> Range<usize> {
        let start = self.at;
        let end = memchr(b'\n', &self.block[start..]).map_or(self.block.len(), |newline| start + newline);
        self.at = (end + 1).min(self.block.len());
        self.lines += 1;
        start..end
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

/// A line as text, if it is one.
fn text(line: &[u8]) -> Result<&str, Reason> {
    match std::str::from_utf8(line) {
        _ if line.len() > MAX_LINE_BYTES => Err(Reason::LineTooLong { max: MAX_LINE_BYTES }),
        _ if line.is_empty() => Err(Reason::EmptyLine),
        Err(error) => Err(Reason::NotUtf8 { byte: error.valid_up_to() + 1 }),
        Ok(line) => Ok(line),
    }
}

//! The envelope of a sealed file that is compressed: a mark before the compressed data, and a hash of every byte behind it.
//!
//! The seal inside proves the lines. Compressed data also has bits that mean nothing to them (the header of a gzip file, padding),
//! and a change there is a damaged disk or cable too. Both parts are empty to every other program: a skippable frame of zstd,
//! a member of gzip without data.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use crate::input::Compression;

const HASH: usize = 32;

/// What stands around the compressed data.
#[derive(Debug, Clone, Copy)]
struct Shape {
    head: &'static [u8],
    /// Before and behind the hash.
    tail: (&'static [u8], &'static [u8]),
}

/// Skippable frames: magic, length of what follows, `metaseal`.
const ZSTD: Shape =
    Shape { head: b"\x5d\x2a\x4d\x18\x08\0\0\0metaseal", tail: (b"\x5d\x2a\x4d\x18\x28\0\0\0metaseal", b"") };

/// Members with an extra field called `MS`, and nothing else: an empty deflate stream, its checksum, its length.
const GZIP: Shape = Shape {
    head: b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x04\0MS\0\0\x03\0\0\0\0\0\0\0\0\0",
    tail: (b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x24\0MS\x20\0", b"\x03\0\0\0\0\0\0\0\0\0"),
};

impl Shape {
    fn of(compression: Compression) -> Option<Shape> {
        match compression {
            Compression::None => None,
            Compression::Zstd => Some(ZSTD),
            Compression::Gzip => Some(GZIP),
        }
    }

    /// The hash in what may be a tail.
    fn hash(self, tail: &[u8]) -> Option<&[u8]> {
        tail.strip_prefix(self.tail.0)?.strip_suffix(self.tail.1).filter(|hash| hash.len() == HASH)
    }

    fn tail_len(self) -> usize {
        self.tail.0.len() + HASH + self.tail.1.len()
    }
}

/// The longest head.
pub(crate) const LONGEST_HEAD: usize = GZIP.head.len();

/// What is wrong with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    #[error("the file is cut, or was changed at its end: it begins as one that is sealed, and does not end so")]
    NoTail,
    #[error("the file was changed at its beginning: it ends as one that is sealed, and does not begin so")]
    NoHead,
    #[error("the file was changed after it was sealed: its SHA-256 is another one")]
    Changed,
}

/// Puts an envelope around what is written to it.
pub(crate) struct EnvelopeWriter<W> {
    out: W,
    shape: Option<Shape>,
    hasher: Sha256,
}

impl<W: Write> EnvelopeWriter<W> {
    /// Without an envelope where nothing is compressed, or nothing is sealed.
    pub(crate) fn new(out: W, compression: Compression, sealed: bool) -> io::Result<Self> {
        let shape = Shape::of(compression).filter(|_| sealed);
        let mut writer = EnvelopeWriter { out, shape, hasher: Sha256::new() };
        if let Some(shape) = shape {
            writer.write_all(shape.head)?;
        }
        Ok(writer)
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        if let Some(Shape { tail, .. }) = self.shape {
            self.write_all(tail.0)?;
            let hash = self.hasher.finalize();
            self.out.write_all(&hash)?;
            self.out.write_all(tail.1)?;
        }
        Ok(self.out)
    }
}

impl<W: Write> Write for EnvelopeWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if self.shape.is_some() {
            self.hasher.update(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a compressed file, and fails at its end, in the place of an end, where its envelope is not whole.
pub(crate) struct EnvelopeReader<R> {
    input: R,
    shape: Shape,
    /// Takes everything before the last bytes, where the file has a head.
    hasher: Option<Sha256>,
    /// The last bytes that were read, as many as a tail has.
    last: Vec<u8>,
}

impl<R: Read> EnvelopeReader<R> {
    /// `start` is how `input` begins; `None` where nothing is compressed.
    pub(crate) fn new(input: R, start: &[u8], compression: Compression) -> Result<Self, R> {
        let Some(shape) = Shape::of(compression) else { return Err(input) };
        let hasher = start.starts_with(shape.head).then(Sha256::new);
        Ok(EnvelopeReader { input, shape, hasher, last: Vec::new() })
    }

    fn take(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let old = self.last.len().saturating_sub(self.shape.tail_len());
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.last[..old]);
        }
        self.last.drain(..old);
    }

    fn check_end(&self) -> Result<(), EnvelopeFault> {
        match (&self.hasher, self.shape.hash(&self.last)) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(EnvelopeFault::NoHead),
            (Some(_), None) => Err(EnvelopeFault::NoTail),
            (Some(hasher), Some(hash)) => {
                let found = hasher.clone().chain_update(self.shape.tail.0).finalize();
                if found[..] == *hash { Ok(()) } else { Err(EnvelopeFault::Changed) }
            }
        }
    }
}

impl<R: Read> Read for EnvelopeReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.check_end().map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        }
        self.take(&buffer[..read]);
        Ok(read)
    }
}

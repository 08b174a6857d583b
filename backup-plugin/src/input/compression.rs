//! What a file is compressed with, recognised by its first bytes, and undone while it is read. Knows nothing of lines.

use std::{
    fmt,
    io::{self, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;

use crate::seal::{EnvelopeReader, LONGEST_HEAD};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Zstd,
    Gzip,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
        })
    }
}

impl Compression {
    fn of(start: &[u8]) -> Compression {
        match start {
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [0x1f, 0x8b, ..] => Compression::Gzip,
            _ => Compression::None,
        }
    }
}

/// An input without its compression.
pub(super) struct Plain<'a> {
    plain: Box<dyn Read + Send + 'a>,
    compression: Compression,
    read: Arc<AtomicU64>,
}

impl<'a> Plain<'a> {
    /// Reads the first bytes of `input`. Nothing is held in memory but what the decoder needs: at most 128 MiB, for a file that
    /// was compressed with the largest window that is taken.
    pub(super) fn open(input: impl Read + Send + 'a) -> io::Result<Plain<'a>> {
        let read = Arc::new(AtomicU64::new(0));
        let mut input = Counted { input, read: read.clone() };
        let mut start = Vec::with_capacity(LONGEST_HEAD);
        input.by_ref().take(LONGEST_HEAD as u64).read_to_end(&mut start)?;
        let compression = Compression::of(&start);
        let input = Cursor::new(start.clone()).chain(input);
        let plain: Box<dyn Read + Send + 'a> = match EnvelopeReader::new(input, &start, compression) {
            Err(input) => Box::new(input),
            Ok(input) if compression == Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
            Ok(input) => Box::new(zstd::Decoder::new(input)?),
        };
        Ok(Plain { plain, compression, read })
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Bytes of the input read so far, as it is: compressed.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Read for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.plain.read(buffer)
    }
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::{gzip, zstd};

    #[test]
    fn compression_is_recognised_by_content_and_undone() {
        let text = b"a line\n".repeat(1000);
        let twice = [zstd(&text[..70]), zstd(&text[70..])].concat();
        for (input, compression) in [
            (text.clone(), Compression::None),
            (zstd(&text), Compression::Zstd),
            (twice, Compression::Zstd),
            (gzip(&text), Compression::Gzip),
            ([gzip(&text[..70]), gzip(&text[70..])].concat(), Compression::Gzip),
        ] {
            let mut plain = Plain::open(&input[..]).unwrap();
            let mut found = Vec::new();
            plain.read_to_end(&mut found).unwrap();
            assert_eq!((plain.compression(), plain.read_bytes()), (compression, input.len() as u64));
            assert!(found == text, "{compression}");
        }
    }

    #[test]
    fn a_short_input_is_not_compressed() {
        for input in [&b""[..], b"[", b"\x1f", b"\x28\xb5\x2f"] {
            assert_eq!(Plain::open(input).unwrap().compression(), Compression::None);
        }
    }
}

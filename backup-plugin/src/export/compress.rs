//! Compresses a backup while it is written. Knows nothing of what is in it.

use std::{
    io::{self, Write},
    thread,
};

use flate2::write::GzEncoder;

use crate::{input::Compression, seal::EnvelopeWriter};

/// Of the numbers that values are written as, more effort makes no smaller file, and takes longer than the file saves on a link of
/// 1 Gbit/s.
const ZSTD_LEVEL: i32 = 1;
/// What `gzip` does by itself.
const GZIP_LEVEL: flate2::Compression = flate2::Compression::new(6);

/// Threads that compress, each a part of some hundred kilobytes. More than these wait for the one that makes the lines.
fn zstd_threads() -> u32 {
    thread::available_parallelism().map_or(1, |processors| processors.get().min(4) as u32)
}

pub(super) enum Compressor<W: Write> {
    None(EnvelopeWriter<W>),
    Zstd(zstd::Encoder<'static, EnvelopeWriter<W>>),
    Gzip(GzEncoder<EnvelopeWriter<W>>),
}

impl<W: Write> Compressor<W> {
    /// `sealed`: whether what is compressed will be.
    pub(super) fn new(out: W, compression: Compression, sealed: bool) -> io::Result<Self> {
        let out = EnvelopeWriter::new(out, compression, sealed)?;
        Ok(match compression {
            Compression::None => Compressor::None(out),
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                encoder.multithread(zstd_threads())?;
                Compressor::Zstd(encoder)
            }
            Compression::Gzip => Compressor::Gzip(GzEncoder::new(out, GZIP_LEVEL)),
        })
    }

    /// Writes the end of the compressed data.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Compressor::None(out) => out,
            Compressor::Zstd(encoder) => encoder.finish()?,
            Compressor::Gzip(encoder) => encoder.finish()?,
        }
        .finish()
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Compressor::None(out) => out.write_all(bytes),
            Compressor::Zstd(encoder) => encoder.write_all(bytes),
            Compressor::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    /// Has what was written reach its reader, where that costs nothing: a flush in the middle makes compression worse.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressor::None(out) => out.flush(),
            Compressor::Zstd(_) | Compressor::Gzip(_) => Ok(()),
        }
    }
}

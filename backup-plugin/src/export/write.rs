//! Lines on their way into a backup: marked and sealed where that is asked for, then compressed, then out.
//!
//! Lines are gathered into large pieces, unless they come in such; these are hashed and written as they are. Knows nothing of
//! what a record says.

use std::{
    io::{self, Write},
    mem,
};

use memchr::memchr;

use super::compress::Compressor;
use crate::{
    input::Compression,
    provenance::Provenance,
    seal::{Sealer, mark},
};

/// Bytes that are gathered before they are hashed and written.
const PIECE: usize = 256 * 1024;
/// Bytes that come together and are not gathered any further.
const LARGE: usize = 64 * 1024;

/// What becomes of the lines of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub sealed: bool,
    pub compression: Compression,
}

pub struct BackupWriter<W: Write> {
    out: Compressor<W>,
    form: Form,
    /// Once the first line is in, where the backup is to be sealed.
    sealer: Option<Sealer>,
    piece: Vec<u8>,
    piece_lines: u64,
    lines: u64,
    bytes: u64,
}

impl<W: Write> BackupWriter<W> {
    pub fn new(out: W, form: Form) -> io::Result<Self> {
        let out = Compressor::new(out, form.compression, form.sealed)?;
        Ok(BackupWriter { out, form, sealer: None, piece: Vec::new(), piece_lines: 0, lines: 0, bytes: 0 })
    }

    /// Takes so many whole lines, with their newlines.
    ///
    /// # Errors
    ///
    /// What it is written to; where it is to be sealed, a first line that is not the header of an unsealed export, as
    /// `InvalidData`.
    pub fn write(&mut self, text: &[u8], lines: u64) -> io::Result<()> {
        if lines == 0 {
            return Ok(());
        }
        let mut text = text;
        if self.lines == 0 && self.form.sealed {
            text = self.mark_first(text)?;
        }
        self.lines += lines;
        if self.piece.is_empty() && text.len() >= LARGE {
            return self.put(text, lines);
        }
        self.piece.extend_from_slice(text);
        self.piece_lines += lines;
        if self.piece.len() >= PIECE { self.write_piece() } else { Ok(()) }
    }

    /// Takes the first line, and gives the text after it.
    fn mark_first<'t>(&mut self, text: &'t [u8]) -> io::Result<&'t [u8]> {
        let end = memchr(b'\n', text).unwrap_or(text.len());
        let marked = std::str::from_utf8(&text[..end]).ok().and_then(|line| Some((Sealer::new(line)?, mark(line)?)));
        let Some((sealer, line)) = marked else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the first line is not the header of an export"));
        };
        self.sealer = Some(sealer);
        self.piece.extend_from_slice(line.as_bytes());
        Ok(&text[end..])
    }

    fn write_piece(&mut self) -> io::Result<()> {
        let mut piece = mem::take(&mut self.piece);
        let lines = mem::take(&mut self.piece_lines);
        let put = self.put(&piece, lines);
        piece.clear();
        self.piece = piece;
        put
    }

    fn put(&mut self, text: &[u8], lines: u64) -> io::Result<()> {
        if let Some(sealer) = &mut self.sealer {
            sealer.push(text, lines);
        }
        self.out.write_all(text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Has every line that was taken reach its reader, unless it is compressed.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_piece()?;
        self.out.flush()
    }

    /// Seals the backup, ends its compression, and gives back what it was written to, with how many lines and bytes they were
    /// before they were compressed. `provenance`: where it comes from, if that is known; `program`: what writes it.
    pub fn finish(mut self, provenance: Option<&Provenance>, program: &str) -> io::Result<(W, u64, u64)> {
        self.write_piece()?;
        if let Some(sealer) = self.sealer.take() {
            let seal = sealer.finish(provenance, program);
            self.out.write_all(seal.as_bytes())?;
            self.lines += 1;
            self.bytes += seal.len() as u64;
        }
        let mut out = self.out.finish()?;
        out.flush()?;
        Ok((out, self.lines, self.bytes))
    }
}

//! An input as blocks of whole lines, about a mebibyte each: counted and hashed in large pieces, and never copied line by line.
//! Knows nothing of what a line says.

use std::{
    io::{self, Read},
    ops::Deref,
};

use memchr::memrchr;
use sha2::{Digest, Sha256};

/// The bytes of a block, about.
pub(super) const BLOCK: usize = 1024 * 1024;
/// Bytes that are asked for at once.
const PIECE: usize = 64 * 1024;

/// Text in a buffer that is written over, and never cleared: what a read fills need not be set to anything before.
#[derive(Debug, Default)]
pub(super) struct Block {
    buffer: Vec<u8>,
    len: usize,
}

impl Block {
    fn clear(&mut self) {
        self.len = 0;
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn without_first(mut self, bytes: usize) -> Self {
        self.buffer.copy_within(bytes..self.len, 0);
        self.len -= bytes;
        self
    }

    fn push(&mut self, text: &[u8]) {
        self.spare(text.len())[..text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    /// Room for at least `len` bytes after the text.
    fn spare(&mut self, len: usize) -> &mut [u8] {
        if self.buffer.len() - self.len < len {
            // Twice as much, but for no more than another block: a long line does not make it double.
            let room = self.len + self.buffer.len().clamp(len, BLOCK.max(len));
            self.buffer.reserve_exact(room - self.buffer.len());
            self.buffer.resize(room, 0);
        }
        &mut self.buffer[self.len..]
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// Whole lines, and more of the input follows.
    Lines,
    /// The last line of the input, alone, with a newline or without.
    LastLine,
    /// Nothing: the input has ended.
    End,
}

pub(super) struct Blocks<R> {
    input: R,
    /// The longest line, in bytes, without its newline.
    max_line: usize,
    /// The last line that was read, or its beginning: held back until it is known whether something follows.
    rest: Vec<u8>,
    ended: bool,
    /// Why reading failed, once the lines before are out that are known not to be the last.
    failed: Option<io::Error>,
    /// Whole lines that were read and are not handed on: the last one, where reading failed behind it.
    withheld: u64,
    bytes: u64,
    hasher: Sha256,
    /// The hasher as it was before the last line.
    before_last: Option<Sha256>,
}

impl<R: Read> Blocks<R> {
    /// A line above `max_line` bytes comes as it is as far as it was read, and is the last that comes: whoever splits the block
    /// sees it.
    pub(super) fn new(input: R, max_line: usize) -> Self {
        Blocks {
            input,
            max_line,
            rest: Vec::new(),
            ended: false,
            failed: None,
            withheld: 0,
            bytes: 0,
            hasher: Sha256::new(),
            before_last: None,
        }
    }

    /// Replaces what is in `block` by the next lines.
    pub(super) fn fill(&mut self, block: &mut Block) -> io::Result<Filled> {
        block.clear();
        if let Some(error) = self.failed.take() {
            self.ended = true;
            return Err(error);
        }
        if self.ended {
            return Ok(Filled::End);
        }
        block.push(&self.rest);
        self.rest.clear();
        let filled = self.read_lines(block)?;
        self.bytes += block.len() as u64;
        if filled == Filled::LastLine {
            self.before_last = Some(self.hasher.clone());
        }
        self.hasher.update(&**block);
        Ok(filled)
    }

    /// Adds what is read to the part of a line in `block`, until that holds the end of a line before its last byte. A pipe that
    /// gives less for now is not waited for.
    fn read_lines(&mut self, block: &mut Block) -> io::Result<Filled> {
        let mut searched = 0;
        loop {
            match self.read_piece(block) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(if block.is_empty() { Filled::End } else { Filled::LastLine });
                }
                Ok(PIECE) if block.len() < BLOCK => continue,
                Ok(_) => {}
                Err(error) => {
                    // Nobody knows whether the last line is that of the input: it may be a seal.
                    let end = block.len().saturating_sub(1);
                    self.withheld = u64::from(block.last() == Some(&b'\n'));
                    let Some(newline) = memrchr(b'\n', &block[..end]) else { return Err(error) };
                    self.failed = Some(error);
                    block.truncate(newline + 1);
                    return Ok(Filled::Lines);
                }
            }
            let end = block.len() - 1;
            if let Some(newline) = memrchr(b'\n', &block[searched..end]) {
                let next = searched + newline + 1;
                self.rest.extend_from_slice(&block[next..]);
                block.truncate(next);
                return Ok(Filled::Lines);
            }
            searched = end;
            if block.len() > self.max_line + 1 {
                self.ended = true;
                return Ok(Filled::Lines);
            }
        }
    }

    /// Reads once, and gives how many bytes that were.
    fn read_piece(&mut self, block: &mut Block) -> io::Result<usize> {
        loop {
            match self.input.read(&mut block.spare(PIECE)[..PIECE]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    block.len += *read.as_ref().unwrap_or(&0);
                    return read;
                }
            }
        }
    }

    pub(super) fn input(&self) -> &R {
        &self.input
    }

    /// Bytes handed on so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whole lines that were read and not handed on, since reading failed.
    pub(super) fn withheld(&self) -> u64 {
        self.withheld
    }

    /// What has hashed every byte before the last line, once that is handed on.
    pub(super) fn before_last_line(&self) -> Option<Sha256> {
        self.before_last.clone()
    }

    /// SHA-256 of the bytes handed on so far.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::hex::hex;

    /// The blocks of an input, with what each is said to be.
    fn blocks(input: impl Read, max_line: usize) -> (Vec<(Filled, Vec<u8>)>, Option<io::Error>) {
        let mut blocks = Blocks::new(input, max_line);
        let mut found = Vec::new();
        loop {
            let mut block = Block::default();
            match blocks.fill(&mut block) {
                Ok(Filled::End) => return (found, None),
                Ok(filled) => found.push((filled, block.to_vec())),
                Err(error) => return (found, Some(error)),
            }
        }
    }

    #[test]
    fn blocks_are_whole_lines_and_the_last_line_comes_alone() {
        let cases: [(&[u8], &[&[u8]]); 7] = [
            (b"", &[]),
            (b"a", &[b"a"]),
            (b"a\n", &[b"a\n"]),
            (b"a\nbc\nd\n", &[b"a\nbc\n", b"d\n"]),
            (b"a\nbc", &[b"a\n", b"bc"]),
            (b"\n", &[b"\n"]),
            (b"a\n\n", &[b"a\n", b"\n"]),
        ];
        for (input, expected) in cases {
            let (found, error) = blocks(input, 4);
            assert!(error.is_none());
            let last = found.len().checked_sub(1);
            for (i, (filled, block)) in found.iter().enumerate() {
                assert_eq!(block, expected[i], "{input:?}");
                assert_eq!(*filled, if Some(i) == last { Filled::LastLine } else { Filled::Lines }, "{input:?}");
            }
            assert_eq!(found.len(), expected.len(), "{input:?}");
        }
    }

    #[test]
    fn a_large_input_comes_in_parts_and_whole() {
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let input = line.repeat(50_000);
        let (found, _) = blocks(&input[..], 1000);
        assert!(found.len() > 4 && found.iter().all(|(_, block)| block.len() <= BLOCK + line.len()));
        assert!(found.iter().all(|(_, block)| block.ends_with(b"\n")));
        assert!(found.into_iter().flat_map(|(_, block)| block).eq(input));
    }

    #[test]
    fn what_a_pipe_has_given_is_not_held_back_until_it_gives_more() {
        struct Pipe(Vec<&'static [u8]>);
        impl Read for Pipe {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert!(!self.0.is_empty(), "a read that would block");
                self.0.remove(0).read(buffer)
            }
        }
        let mut blocks = Blocks::new(Pipe(vec![b"a\nb\nc", b"c\nd\n", b""]), 100);
        let mut block = Block::default();
        for expected in [&b"a\nb\n"[..], b"cc\n", b"d\n", b""] {
            blocks.fill(&mut block).unwrap();
            assert_eq!(*block, *expected);
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_longest_line() {
        const MAX_LINE: usize = 8 * BLOCK;
        let mut blocks = Blocks::new(io::repeat(b'x'), MAX_LINE);
        let mut block = Block::default();
        assert_eq!(blocks.fill(&mut block).unwrap(), Filled::Lines);
        assert!(
            block.len() > MAX_LINE && block.buffer.capacity() <= MAX_LINE + 2 * BLOCK,
            "{}",
            block.buffer.capacity()
        );
        assert_eq!(blocks.fill(&mut block).unwrap(), Filled::End);
    }

    #[test]
    fn every_byte_is_counted_and_hashed() {
        let mut blocks = Blocks::new(&b"abc\nd\xc3\xa9"[..], 100);
        while blocks.fill(&mut Block::default()).unwrap() != Filled::End {}
        assert_eq!(blocks.bytes(), 7);
        assert_eq!(hex(&blocks.sha256()), "6ec95eed3e77147475b7cb16f201a86647b6b5e3e1185171aaaa336fe4a5adda");
    }

    #[test]
    fn a_failed_read_comes_after_the_lines_before_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the cable is out"))
            }
        }
        for (input, expected) in
            [(&b"a\nb\nc"[..], &[&b"a\nb\n"[..]][..]), (b"a\nb\n", &[b"a\n"]), (b"a\n", &[]), (b"a", &[]), (b"", &[])]
        {
            let (found, error) = blocks(input.chain(Broken), 100);
            assert_eq!(error.unwrap().to_string(), "the cable is out");
            let found: Vec<&[u8]> = found.iter().map(|(_, block)| &block[..]).collect();
            assert_eq!(found, expected);
        }
    }
}

//! The input as lines: bounded, UTF-8, counted, and hashed on the way. Knows nothing of what a line says.

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};

use super::refusal::Refusal;

/// The longest line that is read, in bytes, without its newline: the longest that an export writes.
pub(super) const MAX_LINE: usize = 32 * 1024 * 1024;

/// Why there is no next line.
#[derive(Debug)]
pub(super) enum LineError {
    Refused(Refusal),
    Read(io::Error),
}

/// Reads lines one after the other into one buffer, which never grows past the longest line.
pub(super) struct LineReader<R> {
    input: R,
    max_line: usize,
    buffer: Vec<u8>,
    lines: u64,
    bytes: u64,
    hasher: Sha256,
}

impl<R: BufRead> LineReader<R> {
    pub(super) fn new(input: R, max_line: usize) -> Self {
        // Address space for the longest line at once, so that growing never doubles it; memory comes as lines need it.
        let buffer = Vec::with_capacity(max_line + 1);
        LineReader { input, max_line, buffer, lines: 0, bytes: 0, hasher: Sha256::new() }
    }

    /// The next line without its newline; `None` at the end. The last line may lack its newline, no line may be empty.
    pub(super) fn next_line(&mut self) -> Result<Option<&str>, LineError> {
        self.buffer.clear();
        // One byte more than a line may have with its newline: enough to see that it is too long.
        let limit = self.max_line as u64 + 1;
        self.input.by_ref().take(limit).read_until(b'\n', &mut self.buffer).map_err(LineError::Read)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.lines += 1;
        self.bytes += self.buffer.len() as u64;
        self.hasher.update(&self.buffer);
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let refusal = match std::str::from_utf8(line) {
            _ if line.len() > self.max_line => Refusal::LineTooLong { max: self.max_line },
            _ if line.is_empty() => Refusal::EmptyLine,
            Err(error) => Refusal::NotUtf8 { byte: error.valid_up_to() + 1 },
            Ok(line) => return Ok(Some(line)),
        };
        Err(LineError::Refused(refusal))
    }

    /// Lines read so far: the number of the line last returned or refused.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes read so far, newlines included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 of the bytes read so far.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use super::{LineError, LineReader, MAX_LINE};
    use crate::hex::hex;

    fn read(input: &[u8], max_line: usize) -> (Vec<String>, Option<String>) {
        let mut reader = LineReader::new(input, max_line);
        let mut lines = Vec::new();
        loop {
            match reader.next_line() {
                Ok(Some(line)) => lines.push(line.to_owned()),
                Ok(None) => return (lines, None),
                Err(LineError::Refused(refusal)) => return (lines, Some(refusal.to_string())),
                Err(LineError::Read(error)) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn lines_are_bounded_utf8_and_never_empty() {
        let cases: [(&[u8], &[&str], Option<&str>); 9] = [
            (b"", &[], None),
            (b"a\nbc\n", &["a", "bc"], None),
            (b"a\nbc", &["a", "bc"], None),
            (b"a\n\nb\n", &["a"], Some("the line is empty")),
            (b"a\n\n", &["a"], Some("the line is empty")),
            (b"\n", &[], Some("the line is empty")),
            (b"1234\n5678", &["1234", "5678"], None),
            (b"1234\n56789\n1", &["1234"], Some("the line is longer than 4 bytes")),
            (b"a\n\xc3\xa9\xff\n", &["a"], Some("byte 3 of the line is not UTF-8")),
        ];
        for (input, lines, refusal) in cases {
            let (read_lines, read_refusal) = read(input, 4);
            assert_eq!(read_lines, lines, "{input:?}");
            assert_eq!(read_refusal.as_deref(), refusal, "{input:?}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_the_longest_line() {
        let mut reader = LineReader::new(BufReader::new(io::repeat(b'x')), MAX_LINE);
        assert!(matches!(reader.next_line(), Err(LineError::Refused(_))));
        assert_eq!(reader.buffer.capacity(), MAX_LINE + 1);
    }

    #[test]
    fn every_byte_is_counted_and_hashed() {
        let mut reader = LineReader::new(&b"abc\nd\xc3\xa9"[..], MAX_LINE);
        while reader.next_line().unwrap().is_some() {}
        assert_eq!((reader.lines(), reader.bytes()), (2, 7));
        assert_eq!(hex(&reader.sha256()), "6ec95eed3e77147475b7cb16f201a86647b6b5e3e1185171aaaa336fe4a5adda");
    }

    #[test]
    fn a_failed_read_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the cable is out"))
            }
        }
        let mut reader = LineReader::new(BufReader::new((&b"a\n"[..]).chain(Broken)), MAX_LINE);
        assert_eq!(reader.next_line().unwrap(), Some("a"));
        assert!(matches!(reader.next_line(), Err(LineError::Read(_))));
    }
}

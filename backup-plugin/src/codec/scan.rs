//! Reads the byte values of a line, a JSON array of decimal numbers: most of what is read of a backup.
//!
//! The next number begins where one ends: that waiting is what an array takes, not the work. So it is read at four places at once,
//! from both ends of both its halves, and a table tells of any three characters what number they are. Knows nothing of records.

use std::{iter::Rev, ops::Range, slice::IterMut};

use memchr::memchr;

use super::bytes::digits;

/// The values of `12,255,0`, which is `array` of `line`: what stands between the brackets. `None` for anything but plain numbers up
/// to 255 and single commas; and it may be, where the line has less than two characters before `[` or after `]`.
pub(super) fn read_array(line: &[u8], array: Range<usize>) -> Option<Vec<u8>> {
    if array.is_empty() {
        return Some(Vec::new());
    }
    let middle = array.start + array.len() / 2;
    let middle = memchr(b',', &line[middle..array.end]).map_or(array.end, |comma| middle + comma);
    let halves = [array.start..middle, (middle + 1).min(array.end)..array.end];
    let count = |half: &Range<usize>| Some(commas(&line[half.clone()])? + 1);
    let len = count(&halves[0])?;
    let rest = if middle == array.end { 0 } else { count(&halves[1])? };

    let mut values = vec![0; len + rest];
    let (first, second) = values.split_at_mut(len);
    let [unread, unread_too] = halves;
    let mut first = Half::new(line, unread, first);
    let mut second = Half::new(line, unread_too, second);
    let mut told = 0;
    for _ in 0..len.min(rest) / 2 {
        told |= first.take_first()? | first.take_last()? | second.take_first()? | second.take_last()?;
    }
    told |= first.take_all()? | if rest > 0 { second.take_all()? } else { 0 };
    (told & NO_NUMBER == 0).then_some(values)
}

/// How many commas there are; `None` if anything is neither comma nor digit.
fn commas(text: &[u8]) -> Option<usize> {
    let (blocks, rest) = text.as_chunks::<LANES>();
    let mut others = [0; LANES];
    let mut count = 0;
    // As many as a byte can count.
    for blocks in blocks.chunks(usize::from(u8::MAX)) {
        let mut commas = [0; LANES];
        blocks.iter().for_each(|block| tally(block, &mut commas, &mut others));
        count += commas.iter().copied().map(usize::from).sum::<usize>();
    }
    let (mut block, mut commas) = ([b'0'; LANES], [0; LANES]);
    block[..rest.len()].copy_from_slice(rest);
    tally(&block, &mut commas, &mut others);
    count += usize::from(commas.iter().sum::<u8>());
    (others == [0; LANES]).then_some(count)
}

/// Characters that are looked at together.
const LANES: usize = 32;

/// Counts the commas in each place, and marks it where there is anything else that is no digit.
fn tally(block: &[u8; LANES], commas: &mut [u8; LANES], others: &mut [u8; LANES]) {
    for ((character, commas), others) in block.iter().zip(commas).zip(others) {
        let is_comma = u8::from(*character == b',');
        *commas += is_comma;
        *others |= u8::from(character.wrapping_sub(b'0') > 9) ^ is_comma;
    }
}

/// A part of an array that is read from both ends, until they meet.
struct Half<'a> {
    line: &'a [u8],
    /// Where the first number that is not read begins, and where the last one ends.
    begin: usize,
    end: usize,
    /// Where they go.
    first: IterMut<'a, u8>,
    last: Rev<IterMut<'a, u8>>,
}

impl<'a> Half<'a> {
    fn new(line: &'a [u8], unread: Range<usize>, values: &'a mut [u8]) -> Self {
        let (first, last) = values.split_at_mut(values.len() / 2);
        Half { line, begin: unread.start, end: unread.end, first: first.iter_mut(), last: last.iter_mut().rev() }
    }

    /// Reads the first number that is unread, and gives what the table says of it.
    #[inline(always)]
    fn take_first(&mut self) -> Option<u16> {
        let told = FIRST[characters(self.line, self.begin)?];
        self.begin = self.begin.wrapping_add(usize::from(told >> LEN));
        *self.first.next()? = told as u8;
        Some(told)
    }

    /// Reads the last one.
    #[inline(always)]
    fn take_last(&mut self) -> Option<u16> {
        let told = LAST[characters(self.line, self.end.wrapping_sub(3))?];
        self.end = self.end.wrapping_sub(usize::from(told >> LEN));
        *self.last.next()? = told as u8;
        Some(told)
    }

    /// Reads all that is left; `None` unless nothing is left between the ends then. There are as many commas as go with so many
    /// numbers, and all numbers are digits only: so every number had one at its end.
    fn take_all(mut self) -> Option<u16> {
        let mut told = 0;
        while self.first.len() > 0 {
            told |= self.take_first()?;
        }
        while self.last.len() > 0 {
            told |= self.take_last()?;
        }
        (self.begin == self.end.wrapping_add(1)).then_some(told)
    }
}

/// The three characters that begin there, as the place in a table where they are told of.
#[inline(always)]
fn characters(line: &[u8], at: usize) -> Option<usize> {
    let text = u32::from_le_bytes(*line.get(at..)?.first_chunk()?);
    // The lower half of each: the first one's topmost.
    Some(((text & 0x0f_0f0f).wrapping_mul(1 << 24 | 1 << 12 | 1) >> 16 & 0xfff) as usize)
}

/// The number that three characters begin with: its value, its characters and a comma in the bits above. Of characters only the
/// lower half is known; [`commas`] has seen that there are no others.
static FIRST: [u16; 4096] = numbers(true);
/// The number that three characters end with.
static LAST: [u16; 4096] = numbers(false);

/// Where the length is.
const LEN: u32 = 8;
/// What is told of characters that are no number, or one with leading zeros, or one above 255.
const NO_NUMBER: u16 = 1 << 15;
/// What may stand before or after a number: a bracket, or a comma.
const BEFORE: [usize; 2] = [(b'[' & 0xf) as usize, (b',' & 0xf) as usize];
const AFTER: [usize; 2] = [(b']' & 0xf) as usize, (b',' & 0xf) as usize];

const fn numbers(first: bool) -> [u16; 4096] {
    let mut numbers = [NO_NUMBER; 4096];
    let mut value = 0;
    while value < 256 {
        let [hundreds, tens, ones] = digits(value);
        let mut i = 0;
        while i < 2 {
            // Beside a number of two digits or one; and any character beyond.
            let beside = if first { AFTER[i] } else { BEFORE[i] };
            let mut any = 0;
            while any < 16 {
                let (characters, len) = match (value, first) {
                    (100.., _) => ([hundreds, tens, ones], 3),
                    (10.., true) => ([tens, ones, beside], 2),
                    (10.., false) => ([beside, tens, ones], 2),
                    (_, true) => ([ones, beside, any], 1),
                    (_, false) => ([any, beside, ones], 1),
                };
                let [a, b, c] = characters;
                numbers[a << 8 | b << 4 | c] = value as u16 | (len + 1) << LEN;
                any += 1;
            }
            i += 1;
        }
        value += 1;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;
    use crate::codec::bytes::write_array;

    fn written(values: &[u8]) -> String {
        let mut text = Vec::new();
        write_array(values, &mut text);
        String::from_utf8(text).unwrap()
    }

    /// Reads an array, brackets and all, where it stands in a line.
    fn read(array: &str) -> Option<Vec<u8>> {
        let inside = array.strip_prefix('[')?.strip_suffix(']')?;
        let line = format!("\"data\":{array}}}}}}}]");
        read_array(line.as_bytes(), 8..8 + inside.len())
    }

    #[test]
    fn every_number_is_read_in_every_place() {
        for len in 1..200 {
            for value in (0..=255).step_by(len) {
                let mut values = vec![value; len];
                values[len / 2] = 100;
                values[len / 3] = 0;
                assert_eq!(read(&written(&values)), Some(values));
            }
        }
        let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        assert_eq!(read(&written(&all)), Some(all));
        assert_eq!(read("[]"), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_plain_number_is_left_to_others() {
        let digits = "1".repeat(200);
        for text in [
            ",",
            "1,",
            ",1",
            "1,,2",
            "256",
            "999",
            "1000",
            "1000,1",
            "11111,1,1",
            "00",
            "01",
            "007",
            "-1",
            "1.0",
            "1e2",
            " 1",
            "1 ",
            "1\n",
            "1,x",
            "é",
            "\u{ac}1",
            "1\u{ac}1",
            "[1]",
            "1[",
            "1]",
            "null",
            "\"1\"",
            "1<2",
            "1K",
            &digits,
        ] {
            // Alone, before enough to be in another half, behind it, and between.
            for count in [0, 1, 7, 15, 16, 21, 40, 300] {
                let many = "255,".repeat(count);
                for text in [format!("[{many}{text}]"), format!("[{text},{many}1]"), format!("[{many}{text},{many}1]")]
                {
                    assert_eq!(read(&text), None, "{text}");
                }
            }
        }
    }

    #[test]
    fn an_array_at_the_edge_of_a_line_is_left_to_others_or_read() {
        for values in [&[1][..], &[22], &[255], &[1, 2], &[1, 22, 255]] {
            let array = written(values);
            for (before, after) in [("", ""), ("", "}}}]"), ("\"data\":", ""), ("\"data\":", "}"), (":", "}")] {
                let line = format!("{before}{array}{after}");
                let inside = before.len() + 1..before.len() + array.len() - 1;
                let read = read_array(line.as_bytes(), inside);
                assert!(read.as_deref().is_none_or(|read| read == values), "{line}: {read:?}");
            }
        }
    }

    proptest! {
        /// It reads what `serde_json` reads, to the same values, or leaves it alone; and it never leaves what is written here.
        #[test]
        fn it_agrees_with_any_json_reader(
            values in collection::vec(any::<u8>(), 0..200),
            changes in collection::vec((any::<usize>(), "[0-9,, \\]\\[xé.e<-]{0,2}"), 0..4),
        ) {
            let mut text = written(&values);
            prop_assert_eq!(read(&text), Some(values));
            for (at, with) in changes {
                let at = text.floor_char_boundary(at % text.len());
                let end = text.ceil_char_boundary(at + 1);
                text.replace_range(at..end, &with);
                if text.is_empty() {
                    break;
                }
                let expected: Option<Vec<u8>> = serde_json::from_str(&text).ok();
                match read(&text) {
                    Some(values) => prop_assert_eq!(Some(values), expected),
                    None if expected.is_some() => prop_assert!(text.contains(' '), "{} is plain", text),
                    None => {}
                }
            }
        }
    }
}

//! How byte values look in a line: a JSON array of decimal numbers. Most of a backup is this, so it is written from a table and
//! read 64 characters at a time. Knows nothing of records.

use memchr::memchr_iter;

/// Values that are written together.
const BLOCK: usize = 256;
/// The longest text of a value, `,255`.
const WIDEST: usize = 4;

/// Appends `[12,255,0]`.
pub(super) fn write_array(values: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    let mut text = [0; BLOCK * WIDEST];
    // The first value of all has no comma before it.
    let mut start = 1;
    for block in values.chunks(BLOCK) {
        let mut end = 0;
        for value in block {
            let (number, len) = NUMBERS[usize::from(*value)];
            text[end..end + WIDEST].copy_from_slice(&number);
            end += len;
        }
        out.extend_from_slice(&text[start..end]);
        start = 0;
    }
    out.push(b']');
}

/// Each value with a comma before it, and the length of both.
const NUMBERS: [([u8; WIDEST], usize); 256] = {
    let mut numbers = [([b','; WIDEST], 0); 256];
    let mut value = 0;
    while value < 256 {
        let [hundreds, tens, ones] = [value / 100, value / 10 % 10, value % 10];
        let [hundreds, tens, ones] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8];
        numbers[value] = match value {
            0..10 => ([b',', ones, 0, 0], 2),
            10..100 => ([b',', tens, ones, 0], 3),
            _ => ([b',', hundreds, tens, ones], 4),
        };
        value += 1;
    }
    numbers
};

/// Characters that are read together.
const CHARS: usize = 64;
/// Characters before the ones that are read: the longest number and one more.
const BEFORE: usize = 4;

/// The digits of a number with the first one topmost, as `0x00_02_05_05` for 255, is what is compared.
const LARGEST: i32 = 0x02_05_05;
/// For numbers of so many digits: which of the four characters before a comma are theirs, the last one its ones; and the smallest one,
/// for JSON has no leading zeros. There is none of no digits.
const DIGITS: [(u32, i32); 4] = [(0, i32::MAX), (0xff00_0000, 0), (0xffff_0000, 0x01_00), (0xffff_ff00, 0x01_00_00)];

/// The values of `12,255,0`, what stands between the brackets of an array. `None` for anything but plain numbers up to 255 and
/// single commas.
pub(super) fn read_array(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut values = Vec::with_capacity(memchr_iter(b',', text).count() + 1);
    // What is read, after the last characters of what was read before. A comma ends the last number too; digits after it end
    // nothing.
    let mut window = [b'0'; BEFORE + CHARS];
    // Characters of the number that a block leaves unfinished.
    let mut open = 0_u32;
    for start in (0..=text.len()).step_by(CHARS) {
        window.copy_within(CHARS.., 0);
        let rest = &text[start..];
        match rest.first_chunk::<CHARS>() {
            Some(block) => window[BEFORE..].copy_from_slice(block),
            None => {
                let (block, padding) = window[BEFORE..].split_at_mut(rest.len());
                block.copy_from_slice(rest);
                padding.fill(b'0');
                padding[0] = b',';
            }
        }
        let mut commas = commas(&window)?;

        let mut numbers = [0_u8; CHARS];
        let mut count = 0;
        // Where the next number begins; it may have begun in the block before.
        let mut begin = open.wrapping_neg();
        // Negative once a number was too large or too small, and above 3 once one was too long: told at the end of the block, so
        // that no number waits for a branch.
        let (mut outside, mut longest) = (0_i32, 0);
        while commas != 0 {
            let at = commas.trailing_zeros();
            commas &= commas - 1;
            let digits = at.wrapping_sub(begin);
            begin = at + 1;
            let (mask, smallest) = DIGITS[digits as usize % 4];
            let text = window[at as usize % CHARS..].first_chunk().map_or(0, |text| u32::from_le_bytes(*text));
            let text = (text ^ 0x3030_3030) & mask;
            let compared = text.swap_bytes().cast_signed();
            outside |= LARGEST.wrapping_sub(compared) | compared.wrapping_sub(smallest);
            longest |= digits;
            // In the topmost byte: ones, ten times the tens, a hundred times the hundreds.
            numbers[count % CHARS] = (text.wrapping_mul(0x64_0a_01) >> 24) as u8;
            count += 1;
        }
        if outside < 0 || longest > 3 {
            return None;
        }
        open = (CHARS as u32).wrapping_sub(begin);
        values.extend_from_slice(&numbers[..count]);
    }
    Some(values)
}

/// Where the commas are, a bit for each character of the block; `None` if anything is neither comma nor digit.
fn commas(window: &[u8; BEFORE + CHARS]) -> Option<u64> {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const HIGH: u64 = !LOW;
    let mut commas = 0;
    let mut others = 0;
    for (i, word) in window[BEFORE..].chunks_exact(8).enumerate() {
        let word = word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        // The high bit of each byte: set unless it is a comma; set if it is above 9.
        let from_comma = word ^ 0x2c2c_2c2c_2c2c_2c2c;
        let comma = !(((from_comma & LOW) + LOW) | from_comma) & HIGH;
        let digit = word ^ 0x3030_3030_3030_3030;
        let no_digit = (((digit & LOW) + 0x7676_7676_7676_7676) | digit) & HIGH;
        others |= comma ^ no_digit;
        // Gathers the high bits in the topmost byte.
        commas |= ((comma >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (i * 8);
    }
    (others == 0).then_some(commas)
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn written(values: &[u8]) -> String {
        let mut text = Vec::new();
        write_array(values, &mut text);
        String::from_utf8(text).unwrap()
    }

    fn read(array: &str) -> Option<Vec<u8>> {
        read_array(array.strip_prefix('[')?.strip_suffix(']')?.as_bytes())
    }

    #[test]
    fn byte_arrays_are_those_of_any_json_writer() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for values in [&[][..], &[0], &all[..BLOCK - 1], &all[..BLOCK], &all[..BLOCK + 1], &all, &[255; 3 * BLOCK]] {
            assert_eq!(written(values), serde_json::to_string(values).unwrap());
            assert_eq!(read(&written(values)).as_deref(), Some(values));
        }
    }

    #[test]
    fn numbers_are_read_across_the_ends_of_blocks() {
        for len in 1..400 {
            for value in [0, 7, 42, 255] {
                let mut values = vec![value; len];
                values[len / 2] = 100;
                assert_eq!(read(&written(&values)), Some(values));
            }
        }
    }

    #[test]
    fn what_is_no_plain_number_is_left_to_others() {
        let digits = "1".repeat(200);
        for text in [
            ",", "1,", ",1", "1,,2", "256", "999", "1000", "00", "01", "007", "-1", "1.0", "1e2", " 1", "1 ", "1\n",
            "1,x", "é", "\u{ac}1", "[1]", "null", "\"1\"", &digits,
        ] {
            // Alone, and behind enough to be in another block.
            for before in [0, 15, 16, 21, 40] {
                let text = format!("{}{text}", "255,".repeat(before));
                assert_eq!(read_array(text.as_bytes()), None, "{text}");
            }
        }
    }

    proptest! {
        /// It reads what `serde_json` reads, to the same values, or leaves it alone; and it never leaves what is written here.
        #[test]
        fn it_agrees_with_any_json_reader(
            values in collection::vec(any::<u8>(), 0..200),
            changes in collection::vec((any::<usize>(), "[0-9,, \\]\\[xé.e-]"), 0..3),
        ) {
            let mut text = written(&values);
            prop_assert_eq!(read(&text), Some(values));
            for (at, with) in changes {
                let at = text.floor_char_boundary(at % text.len());
                let end = text.ceil_char_boundary(at + 1);
                text.replace_range(at..end, &with);
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

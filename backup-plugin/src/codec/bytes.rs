//! How byte values look in a line: a JSON array of decimal numbers. Most of a backup is this, so it is written from a table and
//! read 64 characters at a time. Knows nothing of records.

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

/// Which of the four characters before a comma belong to a number of so many digits; the last one is its ones.
const DIGITS: [u32; 4] = [0, 0xff00_0000, 0xffff_0000, 0xffff_ff00];
/// The smallest number of so many digits: JSON has no leading zeros.
const SMALLEST: [u32; 4] = [0, 0, 10, 100];

/// The values of `12,255,0`, what stands between the brackets of an array. `None` for anything but plain numbers up to 255 and
/// single commas.
pub(super) fn read_array(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let separators = text.iter().filter(|c| **c == b',').count();
    let mut values = Vec::with_capacity(separators + 1);
    // What is read, after the last characters of what was read before. A comma ends the last number too; digits after it end
    // nothing.
    let mut window = [b'0'; BEFORE + CHARS];
    let mut wrong = false;
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
        let (mut commas, others) = commas_of(&window);
        wrong |= others;

        let mut numbers = [0_u8; CHARS];
        let mut count = 0;
        // Where the next number begins; it may have begun in the block before.
        let mut begin = open.wrapping_neg();
        while commas != 0 {
            let at = commas.trailing_zeros();
            commas &= commas - 1;
            let digits = at.wrapping_sub(begin);
            let number = number_before(&window, at as usize, digits as usize % 4);
            wrong |= digits.wrapping_sub(1) > 2 || number > 255 || number < SMALLEST[digits as usize % 4];
            numbers[count % CHARS] = number as u8;
            count += 1;
            begin = at + 1;
        }
        open = (CHARS as u32).wrapping_sub(begin);
        values.extend_from_slice(&numbers[..count]);
        if wrong {
            return None;
        }
    }
    Some(values)
}

/// Where the commas are, a bit for each character of the block; and whether anything is neither comma nor digit.
fn commas_of(window: &[u8; BEFORE + CHARS]) -> (u64, bool) {
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
    (commas, others != 0)
}

/// The number of `digits` digits that ends before the character `at` of the block.
fn number_before(window: &[u8; BEFORE + CHARS], at: usize, digits: usize) -> u32 {
    let at = at % CHARS;
    let text = window[at..].first_chunk().map_or(0, |text| u32::from_le_bytes(*text));
    let digits = (text ^ 0x3030_3030) & DIGITS[digits];
    (digits >> 24) + (digits >> 16 & 0xff) * 10 + (digits >> 8 & 0xff) * 100
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

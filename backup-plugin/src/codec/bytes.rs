//! How byte values look in a line: a JSON array of decimal numbers. Most of a backup is this, so it is written from a table.
//! Knows nothing of records.

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
        let [hundreds, tens, ones] = digits(value);
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

/// Hundreds, tens and ones.
pub(super) const fn digits(value: usize) -> [usize; 3] {
    [value / 100, value / 10 % 10, value % 10]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[u8]) -> String {
        let mut text = Vec::new();
        write_array(values, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn byte_arrays_are_those_of_any_json_writer() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for values in [&[][..], &[0], &all[..BLOCK - 1], &all[..BLOCK], &all[..BLOCK + 1], &all, &[255; 3 * BLOCK]] {
            assert_eq!(written(values), serde_json::to_string(values).unwrap());
        }
    }
}

//! Ranges of keys, as watchers name them.

use backup_plugin::record::MAX_KEY_BYTES;

/// One key, or the keys from one up to another. It has room for at least one key, and its ends are no longer than a key may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: String,
    /// Not part of the range; `None`: `start` alone is.
    end: Option<String>,
}

/// Why there is no such range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("the range ends at `{end}`, which is not behind its start `{start}`: no key can be in it")]
    Empty { start: String, end: String },
    #[error("an end of the range is {bytes} bytes long; no key is longer than {MAX_KEY_BYTES}")]
    TooLong { bytes: usize },
}

impl KeyRange {
    pub fn new(start: String, end: Option<String>) -> Result<Self, RangeError> {
        let bytes = start.len().max(end.as_ref().map_or(0, String::len));
        if bytes > MAX_KEY_BYTES {
            return Err(RangeError::TooLong { bytes });
        }
        match end {
            Some(end) if end <= start => Err(RangeError::Empty { start, end }),
            end => Ok(KeyRange { start, end }),
        }
    }

    pub fn contains(&self, key: &str) -> bool {
        match &self.end {
            Some(end) => self.start.as_str() <= key && key < end.as_str(),
            None => key == self.start,
        }
    }

    pub fn start(&self) -> &str {
        &self.start
    }

    pub fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }
}

/// The smallest text that is behind everything that starts with `prefix`; `None` where there is none, such as for the empty prefix.
pub fn prefix_end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // The numbers between these two are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_a_key_is_none() {
        let range = |start: &str, end: Option<&str>| KeyRange::new(start.to_owned(), end.map(str::to_owned));
        for (start, end) in [("a", None), ("", None), ("", Some("a")), ("a", Some("a\0")), ("a/", Some("a0"))] {
            assert!(range(start, end).is_ok(), "{start:?} {end:?}");
        }
        for (start, end) in [("a", "a"), ("b", "a"), ("", "")] {
            assert!(matches!(range(start, Some(end)), Err(RangeError::Empty { .. })), "{start:?} {end:?}");
        }
        let long = "k".repeat(65_001);
        assert_eq!(range(&long, None), Err(RangeError::TooLong { bytes: 65_001 }));
        assert_eq!(range("a", Some(&long)), Err(RangeError::TooLong { bytes: 65_001 }));
    }

    #[test]
    fn a_prefix_ends_before_the_next_text_of_its_length() {
        for (prefix, end) in [
            ("a/", Some("a0")),
            ("a", Some("b")),
            ("\u{7f}", Some("\u{80}")),
            ("a\u{d7ff}", Some("a\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(prefix_end(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}

//! An event as the line that scripts read. Knows the form, to the byte, and nothing of where events come from.

use std::fmt::{self, Display, Formatter};

use backup_plugin::record::{KvMeta, SeqV, expiry_ms};
use time::OffsetDateTime;

use crate::ctl::client::WatchEvent;

/// `INIT:(key: <before> -> <after>)`, `CHANGE:` the same, or `CHANGE:None`.
pub(super) struct EventText<'a>(pub(super) &'a WatchEvent);

impl Display for EventText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let WatchEvent { is_initialization, change } = self.0;
        f.write_str(if *is_initialization { "INIT:" } else { "CHANGE:" })?;
        match change {
            None => f.write_str("None"),
            Some((key, change)) => {
                write!(f, "({key}: {} -> {})", RecordText(change.prev.as_ref()), RecordText(change.result.as_ref()))
            }
        }
    }
}

/// `(seq=2 [proposed=…] 'text')`; data that is no text as `[1, 255]`, without quotes.
struct RecordText<'a>(Option<&'a SeqV>);

impl Display for RecordText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(SeqV { seq, meta, data }) = self.0 else { return f.write_str("None") };
        write!(f, "(seq={seq} ")?;
        meta_text(f, meta.unwrap_or_default())?;
        match std::str::from_utf8(data) {
            Ok(text) => write!(f, " '{text}')"),
            Err(_) => write!(f, " {data:?})"),
        }
    }
}

fn meta_text(f: &mut Formatter<'_>, KvMeta { expire_at, proposed_at_ms }: KvMeta) -> fmt::Result {
    let expire = expire_at.map(|at| ("expire", expiry_ms(at)));
    let proposed = proposed_at_ms.map(|at| ("proposed", at));
    f.write_str("[")?;
    for (n, (name, ms)) in expire.into_iter().chain(proposed).enumerate() {
        write!(f, "{}{name}={}", if n == 0 { "" } else { ", " }, TimeText(ms))?;
    }
    f.write_str("]")
}

/// Milliseconds since 1970 as UTC, `2026-11-22T12:08:45.325`; as the number where that is no date.
struct TimeText(u64);

impl Display for TimeText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000) else {
            return write!(f, "{}", self.0);
        };
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second, ms) = at.to_hms_milli();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}", u8::from(month))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Change;

    fn record(seq: u64, meta: Option<(Option<u64>, Option<u64>)>, data: &[u8]) -> Option<SeqV> {
        let meta = meta.map(|(expire_at, proposed_at_ms)| KvMeta { expire_at, proposed_at_ms });
        Some(SeqV { seq, meta, data: data.to_vec() })
    }

    fn text(is_initialization: bool, change: Option<(&str, Option<SeqV>, Option<SeqV>)>) -> String {
        let change = change.map(|(key, prev, result)| (key.to_owned(), Change { prev, result }));
        EventText(&WatchEvent { is_initialization, change }).to_string()
    }

    #[test]
    fn events_look_as_they_always_did() {
        let proposed = |ms| Some((None, Some(ms)));
        let world = record(2, proposed(1_795_349_325_325), b"world");
        for (found, expected) in [
            (
                text(true, Some(("a/b", None, world))),
                "INIT:(a/b: None -> (seq=2 [proposed=2026-11-22T12:08:45.325] 'world'))",
            ),
            (text(false, None), "CHANGE:None"),
            (
                text(false, Some(("a/c", None, record(3, proposed(1_795_349_327_671), b"x")))),
                "CHANGE:(a/c: None -> (seq=3 [proposed=2026-11-22T12:08:47.671] 'x'))",
            ),
            (
                text(false, Some(("k", record(1, Some((Some(1_723_102_819), Some(1_723_102_800_000))), b"p"), None))),
                "CHANGE:(k: (seq=1 [expire=2024-08-08T07:40:19.000, proposed=2024-08-08T07:40:00.000] 'p') -> None)",
            ),
            (
                text(false, Some(("k", record(1, Some((Some(1_723_102_819_001), None)), b""), record(2, None, b"'")))),
                "CHANGE:(k: (seq=1 [expire=2024-08-08T07:40:19.001] '') -> (seq=2 [] '''))",
            ),
            (
                text(false, Some(("k", None, record(1, Some((None, None)), &[0, 159, 146, 150])))),
                "CHANGE:(k: None -> (seq=1 [] [0, 159, 146, 150]))",
            ),
            (
                text(false, Some(("k", None, record(1, proposed(u64::MAX), b"x")))),
                "CHANGE:(k: None -> (seq=1 [proposed=18446744073709551615] 'x'))",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }
}

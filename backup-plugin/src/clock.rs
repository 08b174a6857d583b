//! Moments as the format has them, milliseconds since 1970, and as people write them, RFC 3339. Knows nothing of what happened then.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// Now, by this machine's clock.
pub fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// As in `2026-11-22T12:08:45.325Z`; the number itself where the year has more than four digits.
pub fn rfc3339(ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    moment.ok().and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{ms} ms"))
}

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a moment since 1970 as in 2026-11-22T12:08:45.325Z or 2026-11-22T13:08:45+01:00")]
pub struct NotAMoment(String);

/// Reads a moment with its offset from UTC. What is below a millisecond is cut off.
pub fn parse(text: &str) -> Result<u64, NotAMoment> {
    let refused = || NotAMoment(text.to_owned());
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| refused())?.to_offset(UtcOffset::UTC);
    u64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for (text, ms, written) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2026-11-22T12:08:45.325Z", 1_795_349_325_325, "2026-11-22T12:08:45.325Z"),
            ("2026-11-22T13:08:45.3259+01:00", 1_795_349_325_325, "2026-11-22T12:08:45.325Z"),
            ("2026-11-22t12:08:45z", 1_795_349_325_000, "2026-11-22T12:08:45Z"),
        ] {
            assert_eq!((parse(text), rfc3339(ms).as_str()), (Ok(ms), written));
        }
        assert_eq!(rfc3339(u64::MAX), "18446744073709551615 ms");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "now", "2026-11-22", "2026-11-22T12:08:45", "2026-13-22T12:08:45Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse(text), Err(NotAMoment(text.to_owned())));
        }
    }
}

//! What expires when: how many records in each span from now on, and which are next.

use std::cmp::Reverse;

use serde::Serialize;

use super::top::Top;
use crate::record::SeqV;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
const WEEK_MS: u64 = 7 * DAY_MS;

/// Records with an expiry. Each is in one of the spans: those within a day are not those within an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expiring {
    /// ms since 1970: what the spans are relative to.
    pub now_ms: u64,
    pub count: u64,
    /// Readers do not see these any more. A server removes them when it next applies an entry.
    pub expired: u64,
    pub within_an_hour: u64,
    pub within_a_day: u64,
    pub within_a_week: u64,
    pub later: u64,
    /// Of those that have not expired, the soonest first.
    pub next: Vec<NextExpiry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextExpiry {
    pub key: String,
    /// ms since 1970.
    pub expires_at_ms: u64,
}

pub(super) struct Schedule {
    counted: Expiring,
    next: Top<Reverse<u64>>,
}

impl Schedule {
    pub(super) fn new(now_ms: u64, top: usize) -> Self {
        Schedule { counted: Expiring { now_ms, ..Expiring::default() }, next: Top::new(top) }
    }

    pub(super) fn push(&mut self, key: &str, value: &SeqV) {
        let Some(expiry_ms) = value.expiry_ms() else { return };
        let Expiring { now_ms, count, expired, within_an_hour, within_a_day, within_a_week, later, .. } =
            &mut self.counted;
        *count += 1;
        if value.is_expired(*now_ms) {
            *expired += 1;
            return;
        }
        self.next.offer(Reverse(expiry_ms), key);
        let span = match expiry_ms - *now_ms {
            left if left <= HOUR_MS => within_an_hour,
            left if left <= DAY_MS => within_a_day,
            left if left <= WEEK_MS => within_a_week,
            _ => later,
        };
        *span += 1;
    }

    pub(super) fn finish(self) -> Expiring {
        let next = self.next.into_sorted();
        let next = next.into_iter().map(|(Reverse(expires_at_ms), key)| NextExpiry { key, expires_at_ms }).collect();
        Expiring { next, ..self.counted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KvMeta;

    #[test]
    fn every_record_is_in_one_span() {
        let now = 1_800_000_000_000;
        let mut schedule = Schedule::new(now, 2);
        let expiries = [0, now - 1, now, now + HOUR_MS, now + HOUR_MS + 1, now + DAY_MS, now + WEEK_MS, u64::MAX];
        for (n, expiry_ms) in expiries.into_iter().enumerate().rev() {
            let meta = Some(KvMeta { expire_at: Some(expiry_ms), proposed_at_ms: None });
            schedule.push(&format!("k{n}"), &SeqV { meta, ..SeqV::default() });
        }
        schedule.push("for ever", &SeqV::default());
        let next = |n: usize| NextExpiry { key: format!("k{n}"), expires_at_ms: expiries[n] };
        let expected = Expiring {
            now_ms: now,
            count: 8,
            expired: 2,
            within_an_hour: 2,
            within_a_day: 2,
            within_a_week: 1,
            later: 1,
            next: vec![next(2), next(3)],
        };
        assert_eq!(schedule.finish(), expected);
    }
}

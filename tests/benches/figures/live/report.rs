//! The figures of some rounds as a Markdown table. Measures nothing.

use std::fmt::{self, Display, Formatter};

use integration_tests::measure::{median, sorted};

use super::Round;

pub struct Report<'a> {
    pub keys: u64,
    pub seconds: u64,
    pub rounds: &'a [Round],
}

impl Report<'_> {
    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(&sorted(self.rounds.iter().map(figure)))
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { keys, seconds, rounds } = self;
        writeln!(f, "{keys} keys in the store, 64 clients that write for {seconds} s, {} rounds\n", rounds.len())?;
        writeln!(f, "| figure | median | against | ratio | to reach |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        let p99 = |round: &Round| round.quiet.p99.as_secs_f64() * 1e3;
        let p99_exporting = |round: &Round| round.exporting.p99.as_secs_f64() * 1e3;
        writeln!(
            f,
            "| p99 of a write while exports stream | {:.2} ms | {:.2} ms without | {:.2} | 1.3 |",
            self.median(p99_exporting),
            self.median(p99),
            self.median(|round| p99_exporting(round) / p99(round))
        )?;
        writeln!(
            f,
            "| writes a second meanwhile | {:.0} | {:.0} without | {:.2} | – |",
            self.median(|round| round.exporting.rate),
            self.median(|round| round.quiet.rate),
            self.median(|round| round.exporting.rate / round.quiet.rate)
        )?;
        let floor = |round: &Round| round.iterate.seconds + round.ingest.seconds;
        writeln!(
            f,
            "| compaction beside the writers | {:.2} s | {:.2} s: iterate, then ingest | {:.2} | 1.5 |",
            self.median(|round| round.compaction.seconds),
            self.median(floor),
            self.median(|round| round.compaction.seconds / floor(round))
        )?;
        writeln!(
            f,
            "| writes a second meanwhile | {:.0} | {:.0} without | {:.2} | 0.7 |",
            self.median(|round| round.compaction.rate),
            self.median(|round| round.quiet.rate),
            self.median(|round| round.compaction.rate / round.quiet.rate)
        )?;
        writeln!(
            f,
            "| killed after {keys} more keys, start to first read | {:.2} s | – | – | 1 s |",
            self.median(|round| round.start.seconds)
        )?;
        let exports: u64 = rounds.iter().map(|round| round.exports).sum();
        let load = self.median(|round| round.load_seconds);
        let peak = self.median(|round| round.start.usage.peak_kib as f64 / 1024.0);
        writeln!(f, "\n{exports} exports in all; the keys were written in {load:.1} s; the start took {peak:.0} MiB.")
    }
}

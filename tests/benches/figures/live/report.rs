//! The figures of some rounds as a Markdown table. Measures nothing.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use integration_tests::measure::{median, sorted};

use super::{Round, Writes};

pub struct Report<'a> {
    pub keys: u64,
    pub seconds: u64,
    pub rounds: &'a [Round],
}

impl Report<'_> {
    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(&sorted(self.rounds.iter().map(figure)))
    }

    /// `figure`: what was measured, and what it is held against.
    fn row(&self, f: &mut Formatter<'_>, name: &str, goal: &str, figure: impl Fn(&Round) -> [f64; 2]) -> fmt::Result {
        let [measured, against] = [0, 1].map(|at| self.median(|round| figure(round)[at]));
        let ratio = self.median(|round| figure(round)[0] / figure(round)[1]);
        writeln!(f, "| {name} | {measured:.2} | {against:.2} | {ratio:.2} | {goal} |")
    }

    /// A figure of writes, against that of writes with nothing beside them.
    fn pair(
        &self,
        f: &mut Formatter<'_>,
        name: &str,
        goal: &str,
        writes: impl Fn(&Round) -> &Writes,
        figure: impl Fn(&Writes) -> f64,
    ) -> fmt::Result {
        self.row(f, name, goal, |round| [figure(writes(round)), figure(&round.quiet)])
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { keys, seconds, rounds } = self;
        writeln!(f, "{keys} keys in the store, 64 clients that write for {seconds} s, {} rounds\n", rounds.len())?;
        writeln!(f, "| figure | median | against | ratio | to reach |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        let rate = self.median(|round| round.quiet.moderate.rate);
        let at_rate = format!(" at {rate:.0} a second, each from when it is due,");
        for (beside, goal, writes) in [
            ("exports stream to a file", "1.3", (|round| &round.exporting) as fn(&Round) -> &Writes),
            ("exports stream to /dev/null", "1.3", |round| &round.streaming),
            ("a program writes and syncs as many bytes", "–", |round| &round.writing),
        ] {
            self.pair(f, &format!("p99 of a write while {beside}, ms"), goal, writes, |writes| ms(writes.fast.p99))?;
            self.pair(f, "p99 of those that met no halt, ms", goal, writes, |writes| ms(writes.fast.p99_unhalted))?;
            self.pair(f, "writes a second meanwhile", "–", writes, |writes| writes.fast.rate)?;
            let p99 = format!("p99 of a write{at_rate} while {beside}, ms");
            self.pair(f, &p99, goal, writes, |writes| ms(writes.moderate.p99))?;
            self.pair(f, "p99 of those that met no halt, ms", goal, writes, |writes| ms(writes.moderate.p99_unhalted))?;
            self.pair(f, "p50 of these, ms", "–", writes, |writes| ms(writes.moderate.p50))?;
        }
        self.row(f, "compaction beside the writers, and iterate, then ingest, s", "1.5", |round| {
            [round.compaction.seconds, round.iterate.seconds + round.ingest.seconds]
        })?;
        self.row(f, "writes a second meanwhile", "0.7", |round| [round.compaction.rate, round.quiet.fast.rate])?;
        writeln!(
            f,
            "| killed after {keys} more keys, start to first read | {:.2} s | – | – | 1 s |",
            self.median(|round| round.start.seconds)
        )?;
        let halted = |writes: fn(&Round) -> &Writes| {
            let share = |round: &Round| (writes(round).fast.halted + writes(round).moderate.halted) / 2.0;
            100.0 * self.median(share)
        };
        writeln!(
            f,
            "\nThe host halted the machine for {:.1} % of the time in which there was nothing beside the writes, {:.1} % beside \
             exports to a file, {:.1} % to /dev/null, {:.1} % beside the program that writes.",
            halted(|round| &round.quiet),
            halted(|round| &round.exporting),
            halted(|round| &round.streaming),
            halted(|round| &round.writing)
        )?;
        let exports: u64 = rounds.iter().map(|round| round.exports).sum();
        let load = self.median(|round| round.load_seconds);
        let peak = self.median(|round| round.start.usage.peak_kib as f64 / 1024.0);
        writeln!(f, "\n{exports} exports in all; the keys were written in {load:.1} s; the start took {peak:.0} MiB.")
    }
}

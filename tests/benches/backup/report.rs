//! The figures of some rounds as a Markdown table: medians, their spread, and what they are against the floors.

use std::fmt::{self, Display, Formatter};

use crate::{
    process::Taken,
    round::{Backup, Round},
};

pub struct Report<'a> {
    pub backup: &'a Backup,
    pub rounds: &'a [Round],
}

type Job = fn(&Round) -> Taken;

/// A job, and the floors that together are the least it can take.
const JOBS: [(&str, Job, &[Job]); 5] = [
    ("import into an empty folder", |round| round.import, &[|round| round.hash, |round| round.ingest]),
    ("import as a cluster of one", |round| round.import_cluster, &[|round| round.hash, |round| round.ingest]),
    ("export from the folder", |round| round.export, &[|round| round.iterate, |round| round.write]),
    ("export over gRPC: client", |round| round.stream, &[|round| round.iterate, |round| round.write]),
    ("start to first read", |round| round.start, &[]),
];

const FLOORS: [(&str, Job); 4] = [
    ("floor: read + SHA-256 of the file", |round| round.hash),
    ("floor: sorted ingestion of the records", |round| round.ingest),
    ("floor: iterate the table", |round| round.iterate),
    ("floor: write + fsync of as many bytes", |round| round.write),
];

impl Report<'_> {
    fn seconds(&self, job: Job) -> Vec<f64> {
        sorted(self.rounds.iter().map(|round| job(round).seconds))
    }

    /// In MiB.
    fn memory(&self, kib: impl Fn(&Round) -> u64) -> f64 {
        median(&sorted(self.rounds.iter().map(|round| kib(round) as f64 / 1024.0)))
    }

    fn row(&self, f: &mut Formatter<'_>, name: &str, job: Job, floors: &[Job]) -> fmt::Result {
        let seconds = self.seconds(job);
        let (Some(least), Some(most)) = (seconds.first(), seconds.last()) else { return Ok(()) };
        let taken = median(&seconds);
        write!(f, "| {name} | {taken:.3} | {least:.3}–{most:.3} | {:.0} | ", self.memory(|round| job(round).peak_kib))?;
        let floor: f64 = floors.iter().map(|floor| median(&self.seconds(*floor))).sum();
        if floors.is_empty() { writeln!(f, "– | – |") } else { writeln!(f, "{floor:.3} | {:.1} |", taken / floor) }
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Backup { keys, bytes, .. } = self.backup;
        let megabytes = *bytes as f64 / 1e6;
        writeln!(f, "{keys} keys, {megabytes:.1} MB of text, {} rounds\n", self.rounds.len())?;
        writeln!(f, "| work | median, s | least–most, s | peak, MiB | its floors, s | times its floors |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (name, job, floors) in JOBS {
            self.row(f, name, job, floors)?;
        }
        for (name, job) in FLOORS {
            self.row(f, name, job, &[])?;
        }
        writeln!(
            f,
            "\nThe server while it was exported from: {:.0} MiB before, {:.0} MiB after, {:.0} MiB at most.",
            self.memory(|round| round.before.now_kib),
            self.memory(|round| round.after.now_kib),
            self.memory(|round| round.after.peak_kib),
        )
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; the upper one of two in the middle.
fn median(values: &[f64]) -> f64 {
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! The figures of some rounds as a Markdown table: medians, their spread, and what they are against the floors.
//! Measures nothing.

use std::fmt::{self, Display, Formatter};

use integration_tests::measure::{median, sorted};

use super::{
    process::Taken,
    round::{Backup, Round},
};

pub struct Report<'a> {
    pub backup: &'a Backup,
    pub rounds: &'a [Round],
}

type Job = fn(&Round) -> Taken;

/// The least that a job can take.
enum Floor {
    None,
    One(Job),
    /// Both at once, each on a processor of its own: the slower of the two.
    Slower([Job; 2]),
    /// One after the other.
    Sum([Job; 2]),
}

const IMPORT: Floor = Floor::Slower([|round| round.hash, |round| round.ingest]);
const EXPORT: Floor = Floor::Sum([|round| round.iterate, |round| round.write]);

/// What is measured, its floor, and how many times that it may take; of a start, in seconds.
const JOBS: [(&str, Job, Floor, &str); 7] = [
    ("import into an empty folder", |round| round.import, IMPORT, "1.8"),
    ("import as one of three nodes", |round| round.import_cluster, IMPORT, "1.9"),
    ("verify", |round| round.verify, Floor::One(|round| round.hash), "1.2"),
    ("inspect", |round| round.inspect, Floor::One(|round| round.hash), "1.2"),
    ("export from the folder", |round| round.export, EXPORT, "1.4"),
    ("export over gRPC: client", |round| round.stream, Floor::One(|round| round.receive), "1.3"),
    ("start to first read", |round| round.start, Floor::None, "0.1 s"),
];

const FLOORS: [(&str, Job); 5] = [
    ("floor: read + SHA-256 of the file", |round| round.hash),
    ("floor: sorted ingestion of the records", |round| round.ingest),
    ("floor: iterate the table", |round| round.iterate),
    ("floor: write + fsync of as many bytes", |round| round.write),
    ("floor: a stream of as many bytes, hashed, written, synced", |round| round.receive),
];

impl Report<'_> {
    fn seconds(&self, job: Job) -> Vec<f64> {
        sorted(self.rounds.iter().map(|round| job(round).seconds))
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(&sorted(self.rounds.iter().map(figure)))
    }

    fn row(&self, f: &mut Formatter<'_>, name: &str, job: Job, floor: &Floor, goal: &str) -> fmt::Result {
        let seconds = self.seconds(job);
        let (Some(least), Some(most)) = (seconds.first(), seconds.last()) else { return Ok(()) };
        let taken = median(&seconds);
        let cpu = self.median(|round| job(round).usage.cpu_seconds);
        let peak = self.median(|round| mib(job(round).usage.peak_kib));
        write!(f, "| {name} | {taken:.3} | {least:.3}–{most:.3} | {cpu:.2} | {peak:.0} | ")?;
        let floor = match floor {
            Floor::None => return writeln!(f, "– | – | {goal} |"),
            Floor::One(job) => median(&self.seconds(*job)),
            Floor::Slower(jobs) => jobs.map(|job| median(&self.seconds(job))).into_iter().fold(0.0, f64::max),
            Floor::Sum(jobs) => jobs.map(|job| median(&self.seconds(job))).into_iter().sum(),
        };
        writeln!(f, "{floor:.3} | {:.2} | {goal} |", taken / floor)
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Backup { keys, bytes, .. } = self.backup;
        let megabytes = *bytes as f64 / 1e6;
        writeln!(f, "{keys} keys, {megabytes:.1} MB of text, {} rounds\n", self.rounds.len())?;
        writeln!(
            f,
            "| work | median, s | least–most, s | CPU, s | peak, MiB | its floor, s | times its floor | to reach |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for (name, job, floor, goal) in JOBS {
            self.row(f, name, job, &floor, goal)?;
        }
        for (name, job) in FLOORS {
            self.row(f, name, job, &Floor::None, "–")?;
        }
        let before = self.median(|round| mib(round.before.now_kib));
        let after = self.median(|round| mib(round.after.now_kib));
        let peak = self.median(|round| mib(round.after.peak_kib));
        let cpu = self.median(|round| round.after.cpu_seconds - round.before.cpu_seconds);
        write!(
            f,
            "\nThe server that was exported from: {before:.0} MiB before, {after:.0} MiB after, {peak:.0} MiB at most; "
        )?;
        writeln!(f, "{cpu:.2} s of a processor.")
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

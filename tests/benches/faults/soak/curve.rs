//! What the nodes held at each look, a line of it, and the judgement over all of it.

use std::{fmt::Write as _, time::Duration};

use integration_tests::{
    cluster::Cluster,
    growth::disk_bytes,
    measure::{self, median, sorted},
};

use super::{MIB, load::Made};

/// The first and the last minutes that are held against each other are no more than these.
const WINDOW: Duration = Duration::from_secs(300);

/// What is watched, of every node.
const MEASURES: [Measure; 4] = [
    // What a compaction, an export and the allocator keep for a while moves it by some. A leak of 100 bytes a write is 6 MiB a minute.
    Measure { name: "resident memory, MiB", of: |node| mib(node.resident), least: 16.0, part: 0.125 },
    // Log and bases make a saw-tooth whose top is seen by chance: a view that holds the old base while the new one is there makes it twice
    // as high. What is forgotten on the disk raises all of it.
    Measure { name: "disk, MiB", of: |node| mib(node.disk), least: 8.0, part: 0.125 },
    // The log's files and the tables of just then.
    Measure { name: "descriptors", of: |node| node.descriptors as f64, least: 4.0, part: 0.0 },
    // When the machine has stood still, what waited goes on at once, on more threads, which end soon.
    Measure { name: "threads", of: |node| node.threads as f64, least: 4.0, part: 0.0 },
];

/// The same of the most that any node had on disk. Of one node, looks may miss the top.
const TOP_LEAST: f64 = 8.0;
const TOP_PART: f64 = 0.125;

/// Something whose median must not grow by more than `least`, or that part of what it was, whichever is more: a leak raises every look, a
/// moment in which the machine stands still a few of them.
struct Measure {
    name: &'static str,
    of: fn(&Node) -> f64,
    least: f64,
    part: f64,
}

/// What one node holds, in bytes where it is not told.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    id: u64,
    resident: u64,
    anonymous: u64,
    disk: u64,
    descriptors: u64,
    threads: u64,
}

/// All nodes at one moment.
pub struct Sample {
    at: Duration,
    /// The latest that a node knows: each more is an election.
    term: u64,
    nodes: Vec<Node>,
}

impl Sample {
    /// # Panics
    ///
    /// When a node has ended.
    pub async fn take(cluster: &Cluster, at: Duration) -> Sample {
        let node = |id: u64| {
            let held = measure::held(cluster.server(id).id()).unwrap_or_else(|| panic!("node {id} has ended"));
            Node {
                id,
                resident: held.resident_kib * 1024,
                anonymous: held.anonymous_kib * 1024,
                disk: disk_bytes(cluster.member(id).raft_dir()),
                descriptors: held.descriptors,
                threads: held.threads,
            }
        };
        let mut term = 0;
        for id in cluster.ids() {
            // A node that does not answer in time says nothing of its term.
            term = term.max(cluster.status(id).await.map_or(0, |status| status.current_term));
        }
        Sample { at, term, nodes: cluster.ids().into_iter().map(node).collect() }
    }
}

pub const HEAD: &str = "\
| minute | writes/s | reads/s | failed | p50, ms | p99, ms | longest, ms | term | resident, MiB | anonymous, MiB | disk, MiB | descriptors | threads | exports, MB |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

#[derive(Default)]
pub struct Curve {
    samples: Vec<Sample>,
    /// How many of them have been told.
    told: usize,
}

impl Curve {
    pub fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Of the time since the last one: what was called, and the most that any node held.
    pub fn line(&mut self, made: &Made, exports: &[u64]) -> String {
        let before = self.told.checked_sub(1).map_or(Duration::ZERO, |last| self.samples[last].at);
        let now = self.samples.last().map_or(Duration::ZERO, |sample| sample.at);
        let seconds = (now - before).as_secs_f64();
        let nodes = || self.samples[self.told..].iter().flat_map(|sample| &sample.nodes);
        let most = |of: fn(&Node) -> u64| nodes().map(of).max().unwrap_or_default();
        let least_disk = nodes().map(|node| node.disk).min().unwrap_or_default();
        let mut line = format!(
            "| {:.1} | {:.0} | {:.0} | {} | {:.2} | {:.2} | {:.0} | {} |",
            now.as_secs_f64() / 60.0,
            made.writes() as f64 / seconds,
            made.reads() as f64 / seconds,
            made.failed(),
            made.write_latency(50).as_secs_f64() * 1e3,
            made.write_latency(99).as_secs_f64() * 1e3,
            made.longest().as_secs_f64() * 1e3,
            self.samples.last().map_or(0, |sample| sample.term),
        );
        let sizes: Vec<String> = exports.iter().map(|bytes| format!("{:.1}", *bytes as f64 / 1e6)).collect();
        write!(
            line,
            " {:.1} | {:.1} | {:.1}–{:.1} | {} | {} | {} |",
            mib(most(|node| node.resident)),
            mib(most(|node| node.anonymous)),
            mib(least_disk),
            mib(most(|node| node.disk)),
            most(|node| node.descriptors),
            most(|node| node.threads),
            sizes.join(", "),
        )
        .expect("writing to a String does not fail");
        self.told = self.samples.len();
        line
    }

    /// Holds the last minutes against those after the warm-up, node by node.
    pub fn judge(&self, warm_up: Duration, length: Duration) -> Result<(), String> {
        let window = WINDOW.min((length - warm_up) / 2);
        let windows = [(warm_up, warm_up + window), (length - window, Duration::MAX)];
        let minutes = |at: Duration| at.as_secs_f64() / 60.0;
        let told = windows.map(|(from, _)| format!("minutes {:.1} to {:.1}", minutes(from), minutes(from + window)));
        println!(
            "\n| node | of | median, {} | {} | most, {} | {} | the median may grow by |",
            told[0], told[1], told[0], told[1]
        );
        println!("|---|---|---|---|---|---|---|");
        let mut grown = Vec::new();
        for at in 0..self.samples.first().map_or(0, |sample| sample.nodes.len()) {
            for Measure { name, of, least, part } in &MEASURES {
                let looks = windows.map(|(from, to)| {
                    let samples = self.samples.iter().filter(|sample| sample.at >= from && sample.at < to);
                    sorted(samples.map(|sample| of(&sample.nodes[at])))
                });
                if looks.iter().any(Vec::is_empty) {
                    return Err(format!("nobody looked at the nodes in {} or {}", told[0], told[1]));
                }
                let medians = [0, 1].map(|window: usize| median(&looks[window]));
                let most = [0, 1].map(|window: usize| looks[window].last().copied().unwrap_or(f64::NAN));
                let ([before, after], id) = (medians, self.samples[0].nodes[at].id);
                let tolerance = least.max(before * part);
                print!("| {id} | {name} | {before:.1} | {after:.1} | {:.1} | {:.1} |", most[0], most[1]);
                println!(" {tolerance:.1} |");
                if after > before + tolerance {
                    grown.push(format!("node {id}: {name}, the median of each window: {before:.1}, then {after:.1}"));
                }
            }
        }
        let tops = windows.map(|(from, to)| {
            let samples = self.samples.iter().filter(|sample| sample.at >= from && sample.at < to);
            samples.flat_map(|sample| &sample.nodes).map(|node| mib(node.disk)).fold(0.0, f64::max)
        });
        let tolerance = TOP_LEAST.max(tops[0] * TOP_PART);
        println!("| any | disk, MiB | – | – | {:.1} | {:.1} | the most by {tolerance:.1} |", tops[0], tops[1]);
        if tops[1] > tops[0] + tolerance {
            grown.push(format!("disk, MiB, the most of any node in each window: {:.1}, then {:.1}", tops[0], tops[1]));
        }
        if grown.is_empty() { Ok(()) } else { Err(format!("grown: {}", grown.join("; "))) }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

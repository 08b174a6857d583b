//! What the benches ask of the machine, and medians of what they measured. Knows nothing of what is measured.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// How long disks must have had nothing to do, and how long that is waited for.
const QUIET: Duration = Duration::from_millis(100);
const QUIET_WITHIN: Duration = Duration::from_secs(10);

/// What a program has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Of one processor, in the program and in the kernel for it. Says more than the time on a machine that others use too.
    pub cpu_seconds: f64,
    /// Resident memory now, and the most there was.
    pub now_kib: u64,
    pub peak_kib: u64,
}

/// What the process `id` has used so far; `None` once it has ended.
pub fn usage(id: u32) -> Option<Usage> {
    let about = |what: &str| fs::read_to_string(format!("/proc/{id}/{what}")).ok();
    let (status, stat) = (about("status")?, about("stat")?);
    let kib = |name: &str| -> Option<u64> { field(&status, name)?.strip_suffix(" kB")?.parse().ok() };
    // After the name, which may hold anything, the 12th and 13th fields are the ticks in the program and in the kernel.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    let ticks = ticks.next()? + ticks.next()?;
    let cpu_seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(Usage { cpu_seconds, now_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
}

/// What a program holds at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Resident memory, and the part of it that is no file's.
    pub resident_kib: u64,
    pub anonymous_kib: u64,
    pub descriptors: u64,
    pub threads: u64,
}

/// What the process `id` holds; `None` once it has ended.
pub fn held(id: u32) -> Option<Held> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let descriptors = fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64;
    let number = |name: &str| field(&status, name)?.split(' ').next()?.parse().ok();
    let (resident_kib, anonymous_kib) = (number("VmRSS:")?, number("RssAnon:")?);
    Some(Held { resident_kib, anonymous_kib, descriptors, threads: number("Threads:")? })
}

/// Of the text of `/proc/ID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Returns once everything is on disk and disks have nothing to do, or after ten seconds of others' work. Syncing alone does not do:
/// what a file that was deleted took is given back to the disk after that, and whoever writes meanwhile waits for it.
pub fn quiet_disks() {
    rustix::fs::sync();
    let began = Instant::now();
    let (mut seen, mut since) = (disk_work(), began);
    while since.elapsed() < QUIET && began.elapsed() < QUIET_WITHIN {
        thread::sleep(QUIET / 10);
        let now = disk_work();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

/// Of each disk how many writes and discards it has done, and how many it is at.
fn disk_work() -> Vec<[u64; 3]> {
    let disks = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let numbers = |line: &str| -> Vec<u64> { line.split_whitespace().skip(3).flat_map(str::parse).collect() };
    let at = |numbers: &[u64], field: usize| numbers.get(field).copied().unwrap_or_default();
    disks.lines().map(numbers).map(|numbers| [4, 8, 11].map(|field| at(&numbers, field))).collect()
}

/// Programs that run or want to, on average of the last minute.
///
/// # Panics
///
/// Where the kernel does not say.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").expect("Linux tells the load of the machine");
    load.split(' ').next().unwrap_or_default().to_owned()
}

pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// So many hundredths of all take no longer.
pub fn percentile(sorted: &[Duration], hundredths: usize) -> Duration {
    sorted.get(sorted.len() * hundredths / 100).copied().unwrap_or_default()
}

/// Of sorted values; the upper one of two in the middle.
pub fn median(values: &[f64]) -> f64 {
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

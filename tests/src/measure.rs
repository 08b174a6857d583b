//! What the benches ask of the machine, and medians of what they measured. Knows nothing of what is measured.

use std::fs;

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
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    // After the name, which may hold anything, the 12th and 13th fields are the ticks in the program and in the kernel.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    let ticks = ticks.next()? + ticks.next()?;
    let cpu_seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(Usage { cpu_seconds, now_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
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

/// Of sorted values; the upper one of two in the middle.
pub fn median(values: &[f64]) -> f64 {
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

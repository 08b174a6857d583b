//! The figures of some rounds as a Markdown table: medians, their spread, and what they are against the floors of the same round.
//! Measures nothing.

use std::fmt::{self, Display, Formatter};

use integration_tests::measure::{median, sorted};

use super::{
    load::Sample,
    round::{Measured, Round},
    work::VALUE_BYTES,
};

pub struct Report<'a> {
    pub nodes: u64,
    pub threads: usize,
    pub seconds: u64,
    pub rounds: &'a [Round],
}

/// Gives what was measured of a job, where it was.
type Of = fn(&Measured) -> Option<&Sample>;

impl Report<'_> {
    fn values(&self, job: usize, of: Of, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        sorted(self.rounds.iter().filter_map(|round| of(&round.jobs[job])).map(value))
    }

    /// The median of what each round made of its own floor.
    fn share(&self, job: usize, of: Of) -> String {
        let share = |round: &Round| Some(round.jobs[job].server.rate / of(&round.jobs[job])?.rate);
        let shares = sorted(self.rounds.iter().filter_map(share));
        if shares.is_empty() { "–".to_owned() } else { format!("{:.2}", median(&shares)) }
    }

    fn row(&self, f: &mut Formatter<'_>, name: &str, job: usize, of: Of) -> fmt::Result {
        let rates = self.values(job, of, |sample| sample.rate);
        let (Some(least), Some(most)) = (rates.first(), rates.last()) else { return Ok(()) };
        let of_median = |value: fn(&Sample) -> f64| median(&self.values(job, of, value));
        let p50 = of_median(|sample| sample.p50.as_secs_f64() * 1e3);
        let p99 = of_median(|sample| sample.p99.as_secs_f64() * 1e3);
        let (server, client) = (of_median(|sample| sample.server_cpu_us), of_median(|sample| sample.client_cpu_us));
        let rate = median(&rates);
        write!(f, "| {name} | {rate:.0} | {least:.0}–{most:.0} | {p50:.2} | {p99:.2} | {server:.0} | {client:.0} |")
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(first) = self.rounds.first() else { return Ok(()) };
        let Report { nodes, threads, seconds, rounds } = self;
        writeln!(
            f,
            "{nodes} nodes, values of {VALUE_BYTES} bytes, clients on {threads} threads, {} rounds of {seconds} s\n",
            rounds.len()
        )?;
        write!(f, "| figure | median, keys/s | least–most | p50, ms | p99, ms | server CPU, µs/call | clients' |")?;
        writeln!(f, " to reach | of the echo | of the log |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|")?;
        for (at, Measured { job, .. }) in first.jobs.iter().enumerate() {
            let goal = job.goal(*nodes).map_or_else(|| "–".to_owned(), |goal| format!("{goal:.0}"));
            let (echo, log) = (self.share(at, |job| job.echo.as_ref()), self.share(at, |job| job.log.as_ref()));
            let name = format!("{} on {} connections", job.name, job.connections());
            self.row(f, &name, at, |job| Some(&job.server))?;
            writeln!(f, " {goal} | {echo} | {log} |")?;
        }
        for (at, Measured { job, echo, log, .. }) in first.jobs.iter().enumerate() {
            if echo.is_some() {
                self.row(f, &format!("floor: echo, {}", job.name), at, |job| job.echo.as_ref())?;
                writeln!(f, " – | – | – |")?;
            }
            if log.is_some() {
                self.row(f, &format!("floor: log alone, {} under way", job.clients), at, |job| job.log.as_ref())?;
                writeln!(f, " – | – | – |")?;
            }
        }
        Ok(())
    }
}

//! The figures of some rounds as a Markdown table, and the arithmetic: seconds more than uncompressed against seconds less on the
//! link. Measures nothing.

use std::fmt::{self, Display, Formatter};

use integration_tests::measure::{median, sorted};

use super::{FORMS, Round};
use crate::backup::process::Taken;

/// 1 Gbit/s.
const BYTES_PER_SECOND: f64 = 125e6;

pub struct Report<'a> {
    pub keys: u64,
    pub values: &'a str,
    /// In each, one of every form.
    pub rounds: &'a [[Round; FORMS.len()]],
}

type Job = fn(&Round) -> Taken;

const JOBS: [(&str, Job); 4] = [
    ("export from the folder", |round| round.export),
    ("export over gRPC: client", |round| round.stream),
    ("verify", |round| round.verify),
    ("import into an empty folder", |round| round.import),
];

impl Report<'_> {
    fn of(&self, form: usize, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        sorted(self.rounds.iter().map(|round| figure(&round[form])))
    }

    fn median(&self, form: usize, figure: impl Fn(&Round) -> f64) -> f64 {
        median(&self.of(form, figure))
    }

    fn bytes(&self, form: usize) -> f64 {
        self.median(form, |round| round.bytes as f64)
    }

    /// Seconds that the file takes on the link.
    fn link(&self, form: usize) -> f64 {
        self.bytes(form) / BYTES_PER_SECOND
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { keys, values, rounds } = self;
        writeln!(f, "{keys} keys, values: {values}; {} rounds\n", rounds.len())?;
        writeln!(
            f,
            "| work | compression | median, s | least–most, s | CPU, s | file, MB | s more | s less at 1 Gbit/s | saved, s |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for (name, job) in JOBS {
            for (form, called) in FORMS.iter().enumerate() {
                let seconds = self.of(form, |round| job(round).seconds);
                let (Some(least), Some(most)) = (seconds.first(), seconds.last()) else { return Ok(()) };
                let (taken, cpu) = (median(&seconds), self.median(form, |round| job(round).usage.cpu_seconds));
                let megabytes = self.bytes(form) / 1e6;
                write!(f, "| {name} | {called} | {taken:.3} | {least:.3}–{most:.3} | {cpu:.2} | {megabytes:.1} | ")?;
                if form == 0 {
                    writeln!(f, "– | – | – |")?;
                    continue;
                }
                let more = taken - self.median(0, |round| job(round).seconds);
                let less = self.link(0) - self.link(form);
                writeln!(f, "{more:.3} | {less:.3} | {:.3} |", less - more)?;
            }
        }
        writeln!(f)?;
        for (form, called) in FORMS.iter().enumerate() {
            let export = self.median(form, |round| round.stream.seconds);
            let (link, import) = (self.link(form), self.median(form, |round| round.import.seconds));
            writeln!(
                f,
                "- {called}: export over gRPC {export:.2} s, {:.1} MB over the link {link:.2} s, import {import:.2} s: {:.2} s",
                self.bytes(form) / 1e6,
                export + link + import
            )?;
        }
        Ok(())
    }
}

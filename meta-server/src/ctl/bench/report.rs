//! What a load came to, as a table and as JSON.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{BenchArgs, Mode, load::Taken};
use crate::ctl::{CtlError, json as to_json};

/// What was measured.
pub(super) struct Report<'a> {
    pub(super) address: &'a str,
    pub(super) args: &'a BenchArgs,
    pub(super) prefix: &'a str,
    /// What was written before, to be read.
    pub(super) prepared: &'a Taken,
    pub(super) taken: &'a Taken,
    pub(super) seconds: f64,
    /// Keys that were not removed.
    pub(super) left: u64,
}

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Report<'_> {
    pub(super) fn as_text(&self) -> String {
        let Report { address, args, seconds, .. } = self;
        let mut text = format!(
            "{address}: {} clients for {seconds:.1} s, {}, {} keys with values of {} bytes\n\nms    ",
            args.clients,
            args.mode.name(),
            args.keys,
            args.value_bytes
        );
        // Writing to a String does not fail.
        let _ = write!(text, " {:>10} {:>9} {:>8}", "calls", "a second", "mean");
        for (name, _) in QUANTILES {
            let _ = write!(text, " {name:>8}");
        }
        text.push('\n');
        for (name, latencies) in [("write", &self.taken.writes), ("read", &self.taken.reads)] {
            let Some(latencies) = latencies else { continue };
            let rate = latencies.len() as f64 / seconds;
            let _ = write!(text, "{name:<6} {:>10} {rate:>9.0} {:>8.2}", latencies.len(), latencies.mean() / 1000.0);
            for (_, quantile) in QUANTILES {
                let _ = write!(text, " {:>8.2}", ms(latencies, quantile));
            }
            text.push('\n');
        }
        for (when, taken) in [("", self.taken), (" while the keys were prepared", self.prepared)] {
            for (kind, failed) in &taken.errors {
                let _ = writeln!(text, "{} times{when}: {kind}; first: {}", failed.count, failed.example);
            }
        }
        if self.left > 0 {
            let why = if self.args.keep { "" } else { "warning: not removed: " };
            let _ = writeln!(text, "{why}{} keys are under {}", self.left, self.prefix);
        }
        text
    }

    pub(super) fn as_json(&self) -> Result<String, CtlError> {
        let Report { address, args, prefix, taken, seconds, left, prepared } = self;
        let errors = |taken: &Taken| -> Vec<Value> {
            let error = |(kind, failed): (&String, &super::load::Failed)| json!({"kind": kind, "count": failed.count, "example": failed.example});
            taken.errors.iter().map(error).collect()
        };
        to_json(&json!({
            "address": address,
            "mode": args.mode.name(),
            "clients": args.clients,
            "seconds": seconds,
            "keys": args.keys,
            "value_bytes": args.value_bytes,
            "ttl": args.ttl,
            "prefix": prefix,
            "write": taken.writes.as_ref().map(|latencies| measured(latencies, *seconds)),
            "read": taken.reads.as_ref().map(|latencies| measured(latencies, *seconds)),
            "errors": errors(taken),
            "errors_of_preparing": errors(prepared),
            "keys_left": left,
        }))
    }
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Write => "write",
            Mode::Read => "read",
            Mode::Mixed => "mixed",
        }
    }
}

fn measured(latencies: &Histogram<u64>, seconds: f64) -> Value {
    json!({
        "calls": latencies.len(),
        "per_second": latencies.len() as f64 / seconds,
        "mean_ms": latencies.mean() / 1000.0,
        "p50_ms": ms(latencies, 0.5),
        "p90_ms": ms(latencies, 0.9),
        "p99_ms": ms(latencies, 0.99),
        "p999_ms": ms(latencies, 0.999),
        "max_ms": ms(latencies, 1.0),
    })
}

fn ms(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

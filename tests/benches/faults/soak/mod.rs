//! Three real nodes under a moderate load at a fixed rate, with exports every minute: what they hold of memory, disk, files and
//! threads, as a curve, and whether they hold at the end what they held after the first minutes.

mod curve;
mod load;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use integration_tests::{
    cluster::{Cluster, Layout},
    metronome::beat,
    tool::{args, metactl},
};
use tokio::time::sleep_until;

use self::{
    curve::{Curve, Sample},
    load::{Calls, Load},
};

const MIB: u64 = 1024 * 1024;
const NODES: u64 = 3;
/// One line of the curve.
const LINE: Duration = Duration::from_secs(60);
/// Lines of each log that a broken run prints.
const TAIL: usize = 40;
/// More than so many calls in a hundred that fail are another load than the one that was asked for.
const MOST_FAILED: u64 = 1;

#[derive(Debug, Clone, clap::Args)]
pub struct Soak {
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Minutes before what the nodes hold is what they are to hold at the end
    #[arg(long, default_value_t = 5.0)]
    warm_up: f64,
    /// Writes a second; there are half as many reads
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// That are written again and again, and removed and written anew
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// How long the keys live that are new, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    ttl: u64,
    /// Seconds from one export of every node to the next
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    export_every: u64,
    /// Seconds between two looks at the nodes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=30))]
    look_every: u64,
    /// Of every node: small enough that several compactions fall into each few minutes
    #[arg(long, default_value_t = 16 * MIB)]
    compact_above: u64,
}

impl Soak {
    pub async fn run(self) -> ExitCode {
        if !(0.0..self.minutes).contains(&self.warm_up) {
            println!("--minutes {} leaves no time after --warm-up {}", self.minutes, self.warm_up);
            return ExitCode::FAILURE;
        }
        match self.soak().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(broken) => {
                println!("BROKEN: {broken}");
                ExitCode::FAILURE
            }
        }
    }

    async fn soak(&self) -> Result<(), String> {
        let flags = args([&"--compact-above", &self.compact_above.to_string()]);
        let cluster = Cluster::formed(Layout::voters(NODES).heartbeat_ms(500).flags(flags)).await;
        let load = Arc::new(Load::prepare(&cluster.grpc_addresses(), self.keys, self.ttl).await);
        let calls = Arc::<Calls>::default();
        let length = Duration::from_secs_f64(self.minutes * 60.0);
        let begin = Instant::now();
        let end = begin + length;
        let exports = Mutex::default();
        let beats = {
            let calls = calls.clone();
            // Of three calls, two are writes.
            beat(self.rate * 3 / 2, begin, end, move |n, due| load.clone().call(n, due, calls.clone()))
        };
        let mut curve = Curve::default();
        // What fails first ends the rest.
        let done = tokio::try_join!(
            async { beats.await.map_err(|behind| behind.to_string()) },
            self.export(&cluster, end, &exports),
            self.watch(&cluster, begin, end, &calls, &exports, &mut curve),
        );
        if done.is_err() {
            tell_logs(&cluster);
        }
        let (begun, exported, answered) = done?;
        let failed = begun - answered - calls.take().answered();
        println!("\n{begun} calls, {failed} of them failed; {exported} exports, each sealed and verified");
        if failed * 100 > begun * MOST_FAILED {
            tell_logs(&cluster);
            return Err(format!("{failed} of {begun} calls failed: this was not the load that was asked for"));
        }
        let warm_up = Duration::from_secs_f64(self.warm_up * 60.0);
        let judged = curve.judge(warm_up, length);
        cluster.assert_same_state().await;
        judged
    }

    /// Exports from every node, one after the other, again and again, and verifies each file. Gives how many there were.
    async fn export(&self, cluster: &Cluster, end: Instant, sizes: &Mutex<Vec<u64>>) -> Result<u64, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("cannot make a folder for exports: {error}"))?;
        let file = folder.path().join("export");
        let (mut next, mut exports) = (Instant::now(), 0);
        while next < end {
            sleep_until(next.into()).await;
            for address in cluster.grpc_addresses() {
                let bytes = export(&address, &file).await?;
                sizes.lock().expect("nobody panics in here").push(bytes);
                exports += 1;
            }
            next += Duration::from_secs(self.export_every);
        }
        Ok(exports)
    }

    /// Looks at every node, and prints a line a minute. Gives how many calls were answered.
    async fn watch(
        &self,
        cluster: &Cluster,
        begin: Instant,
        end: Instant,
        calls: &Calls,
        exports: &Mutex<Vec<u64>>,
        curve: &mut Curve,
    ) -> Result<u64, String> {
        println!("{}", curve::HEAD);
        let (mut look, mut line, mut answered) = (begin, begin + LINE, 0);
        while look < end {
            look += Duration::from_secs(self.look_every);
            sleep_until(look.into()).await;
            curve.push(Sample::take(cluster, begin.elapsed()).await);
            if look >= line || look >= end {
                let (made, exports) =
                    (calls.take(), std::mem::take(&mut *exports.lock().expect("nobody panics in here")));
                println!("{}", curve.line(&made, &exports));
                if let Some(first) = made.first_failure() {
                    println!("the first of {} calls that failed: {first}", made.failed());
                }
                answered += made.answered();
                line += LINE;
            }
        }
        Ok(answered)
    }
}

/// The end of what each node logged.
fn tell_logs(cluster: &Cluster) {
    for id in cluster.ids() {
        let log = cluster.log(id);
        let lines: Vec<&str> = log.lines().collect();
        println!("\nnode {id} logged at last:\n{}", lines[lines.len().saturating_sub(TAIL)..].join("\n"));
    }
}

/// Exports, and verifies the file. Gives its size.
async fn export(address: &str, file: &Path) -> Result<u64, String> {
    let ran = metactl([&"export", &"--grpc-api-address", &address, &"--db", &file]).await;
    if ran.code != Some(0) {
        return Err(format!("an export of {address} ended with {:?}: {}", ran.code, ran.stderr));
    }
    let ran = metactl([&"verify", &"--require-seal", &file]).await;
    if ran.code != Some(0) {
        return Err(format!("an export of {address} is not whole: {}{}", ran.stdout, ran.stderr));
    }
    file.metadata().map(|metadata| metadata.len()).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

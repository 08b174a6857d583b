//! Random faults, one a round, on a cluster under load: after each round what the clients were told is checked, and what the
//! exports and the nodes hold. The first violation ends the run, and leaves the history in a file.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use integration_tests::{
    cluster::{Cluster, Layout},
    exporters::Exporters,
    history::{Outcome, Recorder},
    linearizable,
    load::{Load, Running},
    proxy::Link,
    tool::args,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

#[derive(Debug, Clone, clap::Args)]
pub struct Faults {
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..))]
    nodes: u64,
    /// Export from every node all the while
    #[arg(long)]
    exports: bool,
    /// The same faults in the same order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the history goes that shows a violation
    #[arg(long, default_value = "violation.txt")]
    history: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillLeader,
    KillFollower,
    KillAll,
    FreezeLeader,
    FreezeFollower,
    RollingRestart,
    CutLeader(Link),
    CutFollower(Link),
    DeafLeader,
    DelayLeader,
}

const FAULTS: [Fault; 12] = [
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillAll,
    Fault::FreezeLeader,
    Fault::FreezeFollower,
    Fault::RollingRestart,
    Fault::CutLeader(Link::Refused),
    Fault::CutLeader(Link::Silent),
    Fault::CutFollower(Link::Refused),
    Fault::CutFollower(Link::Silent),
    Fault::DeafLeader,
    Fault::DelayLeader,
];

/// Of the round that runs, for when it fails.
type Last = Arc<Mutex<Option<Arc<Recorder>>>>;

impl Faults {
    pub async fn run(self) -> ExitCode {
        let (began, mut draw, last) = (Instant::now(), StdRng::seed_from_u64(self.seed), Last::default());
        // Bases come and go meanwhile, and the log is purged.
        let flags = args([&"--compact-above", &"100000", &"--max-applied-log-to-keep", &"500"]);
        let mut cluster = Cluster::seeded(Layout::voters(self.nodes).proxied().flags(flags), 100).await;
        let mut rounds = 0;
        while began.elapsed().as_secs_f64() < self.minutes * 60.0 {
            rounds += 1;
            let (fault, some_time) =
                (FAULTS[draw.random_range(0..FAULTS.len())], Duration::from_millis(draw.random_range(0..1500)));
            let (exports, last_of_round, began) = (self.exports, last.clone(), Instant::now());
            // A task of its own: its panic is a violation too.
            let round = tokio::spawn(async move {
                let told = round(&mut cluster, rounds, fault, some_time, exports, &last_of_round).await;
                told.map(|told| (cluster, told))
            });
            let violation = match round.await {
                Ok(Ok((back, told))) => {
                    println!("round {rounds:3} {:5.1} s {fault:?}: {told}", began.elapsed().as_secs_f64());
                    cluster = back;
                    continue;
                }
                Ok(Err(violation)) => violation,
                Err(panic) => panic.to_string(),
            };
            println!("round {rounds:3} {fault:?}: VIOLATION (seed {}): {violation}", self.seed);
            self.keep(&last);
            return ExitCode::FAILURE;
        }
        println!("{rounds} rounds in {:.0} s, no violation", began.elapsed().as_secs_f64());
        ExitCode::SUCCESS
    }

    fn keep(&self, last: &Last) {
        let Some(recorder) = last.lock().expect("nobody panics in here").take() else { return };
        let mut text = String::new();
        for operation in recorder.operations() {
            writeln!(text, "{operation}").expect("writing to a String does not fail");
        }
        match fs::write(&self.history, text) {
            Ok(()) => println!("the history is in {}", self.history.display()),
            Err(error) => println!("cannot write the history to {}: {error}", self.history.display()),
        }
    }
}

async fn round(
    cluster: &mut Cluster,
    number: u64,
    fault: Fault,
    some_time: Duration,
    exports: bool,
    last: &Last,
) -> Result<String, String> {
    let load = Load { prefix: format!("round/{number}/"), seed: number, ..Load::default() };
    let load = load.start(cluster.grpc_addresses());
    *last.lock().expect("nobody panics in here") = Some(load.recorder());
    let mut exporters = None;
    if exports {
        exporters = Some(Exporters::start(cluster.grpc_addresses(), &load).await);
    }
    load.writes(50).await;
    inflict(cluster, &load, fault, some_time).await;
    cluster.wait_for_leader().await;
    load.writes(50).await;
    let mut told = String::new();
    if let Some(exporters) = exporters {
        let count = exporters.check().await.map_err(|wrong| wrong.to_string())?;
        write!(told, "{count} exports, ").expect("writing to a String does not fail");
    }
    let history = load.stop().await;
    linearizable::check(&history).map_err(|violation| violation.to_string())?;
    cluster.assert_same_state().await;
    let count = |wanted: fn(&Outcome) -> bool| history.iter().filter(|op| wanted(&op.outcome)).count();
    let (written, unknown) =
        (count(|outcome| matches!(outcome, Outcome::Written { .. })), count(|outcome| *outcome == Outcome::Unknown));
    Ok(format!("{told}{} operations, {written} answered writes, {unknown} unknown", history.len()))
}

/// Does it and undoes it.
async fn inflict(cluster: &mut Cluster, load: &Running, fault: Fault, some_time: Duration) {
    let ids = cluster.ids();
    let leader = cluster.wait_for_leader().await;
    let follower = ids.iter().copied().find(|id| *id != leader).expect("more than one node");
    match fault {
        Fault::KillLeader | Fault::KillFollower => {
            let victim = if matches!(fault, Fault::KillLeader) { leader } else { follower };
            cluster.kill(victim).await;
            sleep(some_time).await;
            cluster.start(victim).await;
        }
        Fault::KillAll => {
            for id in ids {
                cluster.kill(id).await;
            }
            cluster.start_all().await;
        }
        Fault::FreezeLeader | Fault::FreezeFollower => {
            let victim = if matches!(fault, Fault::FreezeLeader) { leader } else { follower };
            cluster.freeze(victim);
            sleep(some_time).await;
            cluster.thaw(victim);
        }
        Fault::RollingRestart => {
            for id in ids {
                cluster.stop(id).await;
                cluster.start(id).await;
                load.writes(10).await;
            }
        }
        Fault::CutLeader(link) | Fault::CutFollower(link) => {
            let victim = if matches!(fault, Fault::CutLeader(_)) { leader } else { follower };
            cluster.proxy().isolate(victim, ids, link);
            sleep(some_time).await;
            cluster.proxy().heal();
        }
        Fault::DeafLeader => {
            ids.into_iter().filter(|id| *id != leader).for_each(|id| cluster.proxy().set(id, leader, Link::Silent));
            sleep(some_time).await;
            cluster.proxy().heal();
        }
        Fault::DelayLeader => {
            cluster.proxy().isolate(leader, ids, Link::Delayed(Duration::from_millis(20)));
            sleep(some_time).await;
            cluster.proxy().heal();
        }
    }
}

//! A follower that is so far behind that its leader sends it a snapshot, with a fault in it: whatever becomes of the follower, its
//! folder opens with all of its old state or all of the leader's, and it catches up at its next start.

use std::{ffi::OsString, fmt::Write as _, fs, ops::Range, path::Path, process::ExitStatus, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;

use super::{CHANGES, Fault, INJECTED, Point, strace};
use crate::{
    cluster::{Cluster, Layout},
    export::Export,
    folder, generate,
    server::Server,
    tool::{args, export_folder, import},
    wait,
};

const LEADER: u64 = 1;
const FOLLOWER: u64 = 2;
/// How long a follower that has caught up is given to meet the fault where it tidies up.
const TIDYING: Duration = Duration::from_secs(1);
const NOT_RECEIVED: &str = "a snapshot was not received";
/// Attempts after which one that fails is known to fail each time.
const ATTEMPTS: usize = 3;

/// A leader and a follower, both stopped, each in a folder of its own: every run begins with copies of those.
pub struct Lagging {
    cluster: Cluster,
    stage: TempDir,
    old: Export,
    new: Export,
}

/// What became of a follower that met a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survived {
    /// The call was not made this time.
    NotMet,
    /// It went on, and caught up, or did when it was started again.
    Running,
    /// It ended, and caught up when it was started again.
    Restarted,
}

/// How a run ended.
struct Run {
    end: End,
    trace: String,
}

#[derive(Clone, Copy)]
enum End {
    /// It has caught up.
    CaughtUp,
    /// It meets the fault again each time that it tries, and goes on with its old state.
    Trying,
    Itself(ExitStatus),
}

impl Lagging {
    pub async fn prepare() -> Lagging {
        let cluster = Cluster::prepare(Layout::voters(1).learner(FOLLOWER)).await;
        let stage = tempfile::tempdir().unwrap();
        let mut states = Vec::new();
        // The follower has older values of some keys, keys that are gone, and a log of its own.
        for (id, applied, log, keys, value) in [(FOLLOWER, 100, 20, 0..80, 50), (LEADER, 500, 0, 20..300, 300)] {
            let (file, raft_dir) = (stage.path().join("backup"), stage.path().join(id.to_string()));
            fs::write(&file, backup(&cluster, id, applied, log, keys, value)).unwrap();
            import(&raft_dir, &file).await;
            states.push(Export::parse(export_folder(&raft_dir).await.lines()));
        }
        let (new, old) = (states.pop().unwrap(), states.pop().unwrap());
        assert!(new.keys.len() == 280 && old.keys.len() == 80 && old.log.len() == 20);
        Lagging { cluster, stage, old, new }
    }

    /// Every call by which the follower changes its folder from its start until it has caught up and tidied up.
    pub async fn calls(&mut self) -> Vec<Point> {
        let calls = format!("trace={}", CHANGES.join(","));
        let run = self.catch_up(args([&"-e", &calls]), Duration::from_secs(20)).await;
        assert!(matches!(run.end, End::CaughtUp), "it did not catch up without a fault");
        self.kill_all().await;
        let found = Export::parse(export_folder(self.raft_dir(FOLLOWER)).await.lines());
        assert!(has(&found, &self.new), "without a fault it has the leader's state");
        Point::all_below(self.raft_dir(FOLLOWER), &run.trace)
    }

    /// One run with a fault. Panics where a promise was broken.
    pub async fn run(&mut self, fault: Fault, point: &Point) -> Survived {
        let case = format!("{fault:?} at {point}");
        let logged = self.cluster.log(FOLLOWER).len();
        let Run { end, trace } = self.catch_up(point.meet(fault), TIDYING).await;
        let found = Export::parse(export_folder(self.raft_dir(FOLLOWER)).await.lines());
        assert!(has(&found, &self.old) || has(&found, &self.new), "{case}: neither the old state nor the leader's");
        match end {
            End::CaughtUp => assert!(has(&found, &self.new), "{case}: it said that it had caught up"),
            End::Trying => assert!(has(&found, &self.old), "{case}: it said that it had not received it"),
            End::Itself(status) if fault == Fault::Kill => assert_eq!(status.code(), None, "{case}: {status}"),
            // It says why, and a service manager starts it again.
            End::Itself(status) => assert_eq!(status.code(), Some(1), "{case}: {status}"),
        }
        let log = self.cluster.log(FOLLOWER);
        assert!(!log[logged..].contains("panicked at"), "{case}: {}", &log[logged..]);

        self.cluster.start(FOLLOWER).await;
        self.cluster.wait_applied_everywhere().await;
        self.cluster.assert_same_state().await;
        let found = self.cluster.export(FOLLOWER).await;
        assert!(has(&found, &self.new), "{case}: {} keys after the next start", found.keys.len());
        wait::until_true(&format!("litter to go ({case})"), || is_tidy(self.raft_dir(FOLLOWER))).await;
        self.kill_all().await;
        match end {
            End::Itself(_) => Survived::Restarted,
            _ if fault == Fault::Kill || !trace.contains(INJECTED) => Survived::NotMet,
            _ => Survived::Running,
        }
    }

    /// Starts the leader, and the follower under `strace`, until that has ended, has failed often enough, or has caught up and, within
    /// `tidying`, tidied up.
    async fn catch_up(&mut self, told: Vec<OsString>, tidying: Duration) -> Run {
        self.kill_all().await;
        for id in [LEADER, FOLLOWER] {
            let raft_dir = self.raft_dir(id);
            if raft_dir.exists() {
                fs::remove_dir_all(raft_dir).unwrap();
            }
            folder::copy(&self.stage.path().join(id.to_string()), raft_dir);
        }
        self.cluster.start(LEADER).await;
        let trace = self.stage.path().join("trace");
        let mut settings = self.cluster.member(FOLLOWER).settings.clone();
        settings.under = [strace(&trace), told].concat();
        let logged = self.cluster.log(FOLLOWER).len();
        let mut follower = Server::spawn(&settings);
        let end = tokio::select! {
            status = follower.ended() => End::Itself(status),
            end = self.caught_up(logged, tidying) => end,
        };
        let seen = fs::read_to_string(&trace).unwrap();
        follower.kill().await;
        Run { end, trace: seen }
    }

    async fn caught_up(&self, logged: usize, tidying: Duration) -> End {
        self.cluster.wait_for_leader().await;
        let end = wait::until("the follower to catch up", async || {
            if self.cluster.log(FOLLOWER)[logged..].matches(NOT_RECEIVED).count() >= ATTEMPTS {
                return Some(End::Trying);
            }
            let (leader, follower) =
                (self.cluster.status(LEADER).await.ok()?, self.cluster.status(FOLLOWER).await.ok()?);
            (follower.last_applied == leader.last_applied).then_some(End::CaughtUp)
        })
        .await;
        if let End::CaughtUp = end {
            let tidied = wait::until_true("the follower to tidy up", || is_tidy(self.raft_dir(FOLLOWER)));
            // Where the fault keeps it from that, its next start does it.
            let _ = timeout(tidying, tidied).await;
        }
        end
    }

    async fn kill_all(&mut self) {
        for id in self.cluster.running() {
            self.cluster.kill(id).await;
        }
    }

    fn raft_dir(&self, id: u64) -> &Path {
        self.cluster.member(id).raft_dir()
    }
}

fn has(found: &Export, expected: &Export) -> bool {
    (&found.keys, found.sequence) == (&expected.keys, expected.sequence)
}

/// Whether a folder holds one generation with one base, and nothing half made.
fn is_tidy(raft_dir: &Path) -> bool {
    let of_generation = folder::names(&folder::live_generation(raft_dir));
    let bases = of_generation.iter().filter(|name| !["log", "ORIGIN"].contains(&name.as_str()));
    folder::names(raft_dir).len() == 3 && bases.count() == 1
}

/// A backup of a member of the cluster, of which member 1 is the only voter: the state at `applied` and as many entries before it.
fn backup(cluster: &Cluster, id: u64, applied: u64, log: u64, keys: Range<u64>, value: usize) -> String {
    let log_id = |index| format!(r#"{{"leader_id":{{"term":1,"node_id":1}},"index":{index}}}"#);
    let (last, sequence) = (log_id(applied), keys.end);
    let mut text = format!(
        r#"["header",{{"DataHeader":{{"key":"header","value":{{"version":"V004"}}}}}}]
["raft_log",{{"NodeId":{id}}}]
["raft_log",{{"Vote":{{"leader_id":{{"term":1,"node_id":1}},"committed":true}}}}]
["raft_log",{{"Committed":{last}}}]
["raft_log",{{"Purged":{}}}]
"#,
        log_id(applied - log)
    );
    for index in applied - log + 1..=applied {
        writeln!(text, r#"["raft_log",{{"LogEntry":{{"log_id":{},"payload":"Blank"}}}}]"#, log_id(index)).unwrap();
    }
    let membership = r#"{"configs":[[1]],"nodes":{"1":{},"2":{}}}"#;
    let membership = format!(r#"{{"Membership":{{"log_id":{},"membership":{membership}}}}}"#, log_id(1));
    writeln!(
        text,
        r#"["state_machine/0",{{"Sequences":{{"key":"generic-kv","value":{sequence}}}}}]
["state_machine/0",{{"StateMachineMeta":{{"key":"LastApplied","value":{{"LogId":{last}}}}}}}]
["state_machine/0",{{"StateMachineMeta":{{"key":"LastMembership","value":{membership}}}}}]"#
    )
    .unwrap();
    for member in cluster.ids() {
        let settings = &cluster.member(member).settings;
        let (host, port, grpc) = (&settings.raft_advertise_host, settings.raft_port, &settings.grpc_address);
        writeln!(
            text,
            r#"["state_machine/0",{{"Nodes":{{"key":{member},"value":{{"name":"{member}","endpoint":{{"addr":"{host}","port":{port}}},"grpc_api_advertise_address":"{grpc}"}}}}}}]"#
        )
        .unwrap();
    }
    for n in keys {
        writeln!(text, "{}", generate::key_line(&generate::key(n), n + 1, &generate::value(n, value))).unwrap();
    }
    text
}

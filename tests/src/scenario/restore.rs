//! A backup becomes a new cluster: every node is imported by itself with one list, started, and that is all. For any number
//! of nodes, for lists that have nothing or much in common with the old cluster, for backups from anywhere in it.

use std::{
    collections::BTreeSet,
    fmt, fs,
    time::{Duration, Instant},
};

use meta_proto::pb;
use serde_json::{Value, json};

use super::backups::{Backups, Keys, OldMember, Source};
use crate::{
    binaries,
    cluster::{Cluster, Layout},
    export::Export,
    tool::{self, args, metactl},
};

/// Long: an election that waited for its time-out, two of these at least, is told from one that did not.
const HEARTBEAT_MS: u64 = 2000;
const ELECTION_TIMEOUT: Duration = Duration::from_millis(2 * HEARTBEAT_MS);

/// What the new list has in common with the old cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Nothing.
    New,
    /// Some ids, at other addresses.
    Overlapping,
    /// All its ids, each at the address of another one.
    Permuted,
}

impl Ids {
    pub const ALL: [Ids; 3] = [Ids::New, Ids::Overlapping, Ids::Permuted];

    /// The smallest first.
    fn first(self) -> u64 {
        match self {
            Ids::New => 11,
            Ids::Overlapping => 2,
            Ids::Permuted => 1,
        }
    }
}

/// One way to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    pub voters: u64,
    pub ids: Ids,
    /// With a learner, whose id is smaller than any voter's.
    pub learner: bool,
    pub source: Source,
}

const VOTERS: [u64; 3] = [1, 3, 5];

impl Case {
    /// All there are.
    pub fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for source in Source::ALL {
            for ids in Ids::ALL {
                for learner in [false, true] {
                    cases.extend(VOTERS.map(|voters| Case { voters, ids, learner, source }));
                }
            }
        }
        cases
    }

    /// So many that any two values of any two properties meet in one of them.
    pub fn pairs() -> Vec<Case> {
        let mut cases = Vec::new();
        for (s, source) in Source::ALL.into_iter().enumerate() {
            for (v, voters) in VOTERS.into_iter().enumerate() {
                cases.push(Case { voters, ids: Ids::ALL[(s + v) % 3], learner: (s + v) % 2 == 0, source });
            }
        }
        cases
    }

    fn layout(self) -> Layout {
        let first = self.ids.first();
        let members = self.voters + u64::from(self.learner);
        let voters = Layout::with_ids((first + u64::from(self.learner))..first + members);
        let layout = if self.learner { voters.learner(first) } else { voters };
        layout.heartbeat_ms(HEARTBEAT_MS)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { voters, ids, learner, source } = self;
        let learner = if *learner { " + 1 learner" } else { "" };
        write!(f, "{voters} voters{learner}, ids {ids:?}, from {source:?}")
    }
}

/// How long it took.
#[derive(Debug, Clone, Copy)]
pub struct Restored {
    /// All imports.
    pub imported: Duration,
    /// From the first start until the first voter led.
    pub led: Duration,
    /// From there to the first answered write.
    pub written: Duration,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let Restored { imported, led, written } = self;
        write!(f, "imported in {:.0} ms, led after {:.0} ms, ", ms(*imported), ms(*led))?;
        write!(f, "first write in {:.1} ms", ms(*written))
    }
}

/// Makes a new cluster of a backup, and checks all that was promised of it.
///
/// # Panics
///
/// When a promise is broken.
pub async fn restore(case: Case, backups: &Backups) -> Restored {
    let backup = &backups.of[&case.source];
    let mut cluster = Cluster::prepare(case.layout()).await;
    if case.ids == Ids::Permuted {
        permute(&mut cluster, &backups.old);
    }
    let began = Instant::now();
    cluster.import(&backup.file).await;
    let imported = began.elapsed();

    let first = cluster.voters()[0];
    let began = Instant::now();
    cluster.start_all().await;
    let leader = cluster.wait_for_leader().await;
    let led = began.elapsed();
    assert_eq!(leader, first, "{case}: the voter with the smallest id leads");
    assert!(led < ELECTION_TIMEOUT, "{case}: {led:?} until it led");
    let status = cluster.status(first).await.unwrap();
    // The import begins a term, and the one election the next.
    assert_eq!(status.current_term, backup.term + 2, "{case}: there was one election");

    let mut keys = backup.keys.clone();
    let began = Instant::now();
    let seq = cluster.client(first).await.put("written/first", b"1").await.unwrap();
    let written = began.elapsed();
    keys.insert("written/first".to_owned(), (seq, b"1".to_vec()));
    for id in cluster.ids() {
        let (key, data) = (format!("written/{id}"), id.to_string().into_bytes());
        let seq = write_through(&cluster, id, &key, &data).await;
        keys.insert(key, (seq, data));
    }
    check_members(case, &cluster).await;
    let old = old_addresses(&cluster, &backups.old);
    check_answers(case, &cluster, &old).await;
    check_exports(case, &cluster, &keys, &old).await;
    Restored { imported, led, written }
}

/// Gives each member that has an old id the address of the next old one.
fn permute(cluster: &mut Cluster, old: &[OldMember]) {
    for (n, member) in old.iter().enumerate() {
        let next = &old[(n + 1) % old.len()];
        if cluster.ids().contains(&member.id) {
            let settings = &mut cluster.member_mut(member.id).settings;
            (settings.raft_advertise_host, settings.raft_port) = next.raft.clone();
            settings.grpc_address.clone_from(&next.grpc);
        }
    }
}

async fn write_through(cluster: &Cluster, id: u64, key: &str, data: &[u8]) -> u64 {
    cluster.client(id).await.put(key, data).await.unwrap()
}

/// Every node says that the members, and their addresses, are those of the list.
async fn check_members(case: Case, cluster: &Cluster) {
    cluster.wait_applied_everywhere().await;
    let of_role = |learner: bool| -> BTreeSet<String> {
        let members = cluster.ids().into_iter().filter(|id| cluster.member(*id).learner == learner);
        members.map(|id| format!("id={id} raft={}", cluster.member(id).raft_address())).collect()
    };
    let without_grpc = |nodes: &[String]| -> BTreeSet<String> {
        nodes.iter().map(|node| node.split(" grpc=").next().unwrap_or_default().to_owned()).collect()
    };
    for id in cluster.ids() {
        let status = cluster.status(id).await.unwrap();
        assert_eq!(without_grpc(&status.voters), of_role(false), "{case}: voters as node {id} says");
        assert_eq!(without_grpc(&status.non_voters), of_role(true), "{case}: learners as node {id} says");
        let nodes = cluster.server(id).admin("/v1/cluster/nodes").await;
        let names = |node: &Value| node["name"].as_str().and_then(|name| name.parse().ok()).expect("an id");
        let ids: Vec<u64> = nodes.as_array().expect("a list of nodes").iter().map(names).collect();
        assert_eq!(ids, cluster.ids(), "{case}: nodes as node {id} says");
    }
}

/// Every node gives a backup, without a warning, that holds every key, and nothing of the old cluster.
async fn check_exports(case: Case, cluster: &Cluster, keys: &Keys, old: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let members: BTreeSet<u64> = cluster.ids().into_iter().collect();
    for id in cluster.ids() {
        let (file, address) = (folder.path().join(id.to_string()), cluster.member(id).grpc_address());
        let line = args([
            &"export",
            &"--json",
            &"--consistency",
            &"linearizable",
            &"--grpc-api-address",
            &address,
            &"--db",
            &file,
        ]);
        let told = tool::run(&binaries::tool(), &line).await.expect(0);
        let told: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(told["warning"], json!(null), "{case}: the export of node {id}");
        let text = fs::read_to_string(&file).unwrap();
        let export = Export::parse(text.lines());
        assert_eq!(export.all(), *keys, "{case}: the keys of node {id}");
        assert_eq!(export.node_id, Some(id), "{case}: the id in the export of node {id}");
        assert_eq!(export.nodes.keys().copied().collect::<BTreeSet<_>>(), members, "{case}: nodes in the export");

        let mut memberships = 0;
        // Keys and values are the users'.
        for line in text.lines().filter(|line| !line.contains("GenericKV")) {
            assert_new(case, id, line, old);
            let ids = members_in(line);
            memberships += usize::from(!ids.is_empty());
            assert!(ids.is_subset(&members), "{case}: node {id} still exports another member: {line}");
        }
        assert!(memberships > 0, "{case}: node {id} exports its membership");
    }
}

/// No node names an address of the old cluster.
async fn check_answers(case: Case, cluster: &Cluster, old: &[String]) {
    for id in cluster.ids() {
        let address = cluster.member(id).grpc_address();
        let mut client = cluster.client(id).await;
        let list = client.rpc.member_list(client.request(pb::MemberListRequest::default())).await.unwrap();
        for text in [
            metactl([&"status", &"--grpc-api-address", &address]).await.expect(0).stdout,
            list.into_inner().data.join(" "),
            cluster.server(id).admin("/v1/cluster/nodes").await.to_string(),
            cluster.server(id).admin("/v1/cluster/status").await.to_string(),
        ] {
            assert_new(case, id, &text, old);
        }
    }
}

fn assert_new(case: Case, id: u64, text: &str, old: &[String]) {
    for old in old {
        assert!(!text.contains(old), "{case}: node {id} still says {old}: {text}");
    }
}

/// The addresses that the old cluster had and the new one has not, as text and as fields of JSON.
fn old_addresses(cluster: &Cluster, old: &[OldMember]) -> Vec<String> {
    let new = |id: u64| [cluster.member(id).raft_address(), cluster.member(id).grpc_address().to_owned()];
    let new: BTreeSet<String> = cluster.ids().into_iter().flat_map(new).collect();
    let old = old.iter().flat_map(|member| [format!("{}:{}", member.raft.0, member.raft.1), member.grpc.clone()]);
    let gone = old.filter(|address| !new.contains(address));
    gone.flat_map(|address| {
        let (host, port) = address.rsplit_once(':').expect("an address");
        [format!(r#""addr":"{host}","port":{port}"#), address]
    })
    .collect()
}

/// The ids in a membership, in a line of the log or of the state; empty for any other line.
fn members_in(line: &str) -> BTreeSet<u64> {
    let line: Value = serde_json::from_str(line).unwrap();
    let record = &line[1];
    let memberships = [
        &record["LogEntry"]["payload"]["Membership"],
        &record["StateMachineMeta"]["value"]["Membership"]["membership"],
    ];
    let configs = memberships.iter().filter_map(|membership| membership["configs"].as_array()).flatten();
    let voters = configs.filter_map(Value::as_array).flatten().filter_map(Value::as_u64);
    let nodes = memberships.iter().filter_map(|membership| membership["nodes"].as_object());
    voters.chain(nodes.flat_map(|nodes| nodes.keys().filter_map(|id| id.parse().ok()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_values_meet_in_one_of_the_pairs() {
        let pairs = Case::pairs();
        let meet = |wanted: &dyn Fn(&Case) -> bool| pairs.iter().any(wanted);
        for case in Case::all() {
            let Case { voters, ids, learner, source } = case;
            assert!(meet(&|c| (c.voters, c.ids) == (voters, ids)), "{case}");
            assert!(meet(&|c| (c.voters, c.learner) == (voters, learner)), "{case}");
            assert!(meet(&|c| (c.voters, c.source) == (voters, source)), "{case}");
            assert!(meet(&|c| (c.ids, c.learner) == (ids, learner)), "{case}");
            assert!(meet(&|c| (c.ids, c.source) == (ids, source)), "{case}");
            assert!(meet(&|c| (c.learner, c.source) == (learner, source)), "{case}");
        }
    }
}

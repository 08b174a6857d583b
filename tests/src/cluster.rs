//! Several real nodes, each with a folder and loopback addresses of its own: made anew or from a backup, stopped,
//! killed, frozen, cut from each other and started again. All are killed on drop; when the test fails, the end of each
//! node's log is printed.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use meta_proto::pb::{self, meta_service_client::MetaServiceClient};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};
use tonic::Status;

use crate::{
    binaries,
    client::{self, Client},
    export::Export,
    generate,
    loopback::{self, Network},
    proxy::{Processes, Proxy},
    server::{Server, Settings},
    tool::{self, args, metactl},
    wait,
};

/// A frozen node does not answer.
const STATUS_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of the value of a generated key.
const SEED_VALUE: usize = 1000;
/// Lines of each log that a failed test prints.
const TAIL: usize = 60;

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Ids, and who stays a learner.
    members: Vec<(u64, bool)>,
    heartbeat_ms: u64,
    proxied: bool,
    more: Vec<OsString>,
}

impl Layout {
    /// Voters 1 to `count`.
    pub fn voters(count: u64) -> Layout {
        Layout::with_ids(1..=count)
    }

    pub fn with_ids(ids: impl IntoIterator<Item = u64>) -> Layout {
        let members = ids.into_iter().map(|id| (id, false)).collect();
        Layout { members, heartbeat_ms: 150, proxied: false, more: Vec::new() }
    }

    #[must_use]
    pub fn learner(mut self, id: u64) -> Layout {
        self.members.push((id, true));
        self
    }

    /// With a proxy before every node, for [`Cluster::proxy`].
    #[must_use]
    pub fn proxied(self) -> Layout {
        Layout { proxied: true, ..self }
    }

    #[must_use]
    pub fn heartbeat_ms(self, heartbeat_ms: u64) -> Layout {
        Layout { heartbeat_ms, ..self }
    }

    /// More flags for every node.
    #[must_use]
    pub fn flags(self, more: Vec<OsString>) -> Layout {
        Layout { more, ..self }
    }
}

/// One member, running or not.
pub struct Member {
    pub learner: bool,
    pub settings: Settings,
    server: Option<Server>,
    frozen: bool,
}

impl Member {
    /// Where other members find it, `host:port`.
    pub fn raft_address(&self) -> String {
        format!("{}:{}", self.settings.raft_advertise_host, self.settings.raft_port)
    }

    pub fn raft_dir(&self) -> &Path {
        &self.settings.raft_dir
    }

    /// The same at every start.
    pub fn grpc_address(&self) -> &str {
        &self.settings.grpc_address
    }
}

pub struct Cluster {
    members: BTreeMap<u64, Member>,
    processes: Processes,
    proxy: Option<Proxy>,
    network: Network,
    folder: TempDir,
    /// More flags for every node.
    more: Vec<OsString>,
}

impl Cluster {
    /// Folders and addresses, and nothing in them.
    pub async fn prepare(layout: Layout) -> Cluster {
        let processes = Processes::default();
        let mut cluster = Cluster {
            members: BTreeMap::new(),
            proxy: layout.proxied.then(|| Proxy::new(processes.clone())),
            processes,
            network: Network::new(),
            folder: tempfile::tempdir().unwrap(),
            more: args([&"--heartbeat-interval", &layout.heartbeat_ms.to_string()]),
        };
        cluster.more.extend(layout.more);
        for (id, learner) in layout.members {
            cluster.add(id, learner).await;
        }
        cluster
    }

    /// A folder and addresses for one more member.
    pub async fn add(&mut self, id: u64, learner: bool) {
        let n = self.members.len();
        let (front, back) = (self.network.front(n), self.network.back(n));
        let raft_port = loopback::free_port(&front);
        if let Some(proxy) = &mut self.proxy {
            proxy.stand_before(id, (&front, raft_port), (&back, raft_port)).await;
        }
        let settings = Settings {
            id: Some(id),
            grpc_address: format!("{front}:{}", loopback::free_port(&front)),
            raft_listen_host: self.proxy.is_some().then_some(back),
            raft_advertise_host: front,
            raft_port,
            stderr: Some(self.folder.path().join(format!("{id}.log"))),
            more: self.more.clone(),
            ..Settings::of(&self.folder.path().join(id.to_string()))
        };
        assert!(self.members.insert(id, Member { learner, settings, server: None, frozen: false }).is_none());
    }

    /// Starts member `id`, which has no store yet and joins by way of `via`. It goes on by itself.
    pub async fn start_joining(&mut self, id: u64, via: u64) {
        let mut flags = args([&"--join", &self.member(via).raft_address()]);
        flags.extend(self.member(id).learner.then(|| "--learner".into()));
        self.start_with(id, flags).await;
    }

    /// A new cluster: the first node starts it, the others join it. Ready to be written to.
    pub async fn formed(layout: Layout) -> Cluster {
        let mut cluster = Cluster::prepare(layout).await;
        let first = cluster.ids()[0];
        cluster.start_with(first, args([&"--single"])).await;
        cluster.wait_for_leader().await;
        for id in cluster.ids().into_iter().skip(1) {
            cluster.start_joining(id, first).await;
        }
        cluster.wait_until_complete().await;
        cluster
    }

    /// A new cluster of what `backup` holds, every node imported by itself, all started at once. Ready to be written to.
    pub async fn restored(layout: Layout, backup: &Path) -> Cluster {
        let mut cluster = Cluster::prepare(layout).await;
        cluster.import(backup).await;
        cluster.start_all().await;
        cluster.wait_until_complete().await;
        cluster
    }

    /// A new cluster that holds nothing but `keys` generated keys. Ready to be written to.
    pub async fn seeded(layout: Layout, keys: u64) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("seed.ndjson");
        generate::write(&backup, keys, SEED_VALUE);
        Cluster::restored(layout, &backup).await
    }

    /// Imports `backup` into every folder, with this cluster as the list.
    pub async fn import(&self, backup: &Path) {
        let mut imports = JoinSet::new();
        for id in self.ids() {
            let line = self.import_line(id, backup);
            imports.spawn(async move { tool::run(&binaries::tool(), &line).await.expect(0) });
        }
        imports.join_all().await;
    }

    /// The tool's command line that imports `backup` as member `id` of this cluster.
    pub fn import_line(&self, id: u64, backup: &Path) -> Vec<OsString> {
        let raft_dir = self.member(id).raft_dir();
        let mut line = args([&"import", &"--raft-dir", &raft_dir, &"--db", &backup, &"--id", &id.to_string()]);
        line.push("--initial-cluster".into());
        line.extend(self.list().into_iter().map(OsString::from));
        line
    }

    /// This cluster for `--initial-cluster`.
    pub fn list(&self) -> Vec<String> {
        let item = |(id, member): (&u64, &Member)| {
            format!("{id}={}{}", member.raft_address(), if member.learner { ",learner" } else { "" })
        };
        self.members.iter().map(item).collect()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    /// The ids of the voters.
    pub fn voters(&self) -> Vec<u64> {
        self.members.iter().filter(|(_, member)| !member.learner).map(|(id, _)| *id).collect()
    }

    /// Those that run and are not frozen.
    pub fn running(&self) -> Vec<u64> {
        let runs = |member: &Member| member.server.is_some() && !member.frozen;
        self.members.iter().filter(|(_, member)| runs(member)).map(|(id, _)| *id).collect()
    }

    pub fn member(&self, id: u64) -> &Member {
        self.members.get(&id).unwrap_or_else(|| panic!("the cluster has no member {id}"))
    }

    pub fn member_mut(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).unwrap_or_else(|| panic!("the cluster has no member {id}"))
    }

    pub fn server(&self, id: u64) -> &Server {
        self.member(id).server.as_ref().unwrap_or_else(|| panic!("member {id} does not run"))
    }

    /// The gRPC addresses of all.
    pub fn grpc_addresses(&self) -> Vec<String> {
        self.members.values().map(|member| member.grpc_address().to_owned()).collect()
    }

    /// A client of one member that has logged in.
    pub async fn client(&self, id: u64) -> Client {
        self.server(id).client().await
    }

    /// What member `id` has logged, over all its runs.
    pub fn log(&self, id: u64) -> String {
        fs::read_to_string(self.log_path(id)).unwrap_or_default()
    }

    fn log_path(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("{id}.log"))
    }

    /// The rules between the nodes.
    ///
    /// # Panics
    ///
    /// When the layout asked for no proxy.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("a layout with a proxy")
    }

    /// Starts what is in the folder of member `id`, and waits until it listens.
    pub async fn start(&mut self, id: u64) {
        self.start_with(id, Vec::new()).await;
    }

    /// The same with more flags for this once.
    pub async fn start_with(&mut self, id: u64, flags: Vec<OsString>) {
        let mut settings = self.member(id).settings.clone();
        settings.more.extend(flags);
        let starting = Server::spawn(&settings);
        // A node may need its peers before it listens, and the proxy has to know it for that.
        self.processes.set(id, starting.id());
        let running = starting.listening().await;
        let before = self.member_mut(id).server.replace(running);
        assert!(before.is_none(), "member {id} ran already");
    }

    /// Starts all that do not run, at once.
    pub async fn start_all(&mut self) {
        let stopped: Vec<u64> = self.ids().into_iter().filter(|id| self.member(*id).server.is_none()).collect();
        let mut starts = JoinSet::new();
        for id in stopped {
            let starting = Server::spawn(&self.member(id).settings);
            self.processes.set(id, starting.id());
            starts.spawn(async move { (id, starting.listening().await) });
        }
        for (id, server) in starts.join_all().await {
            self.member_mut(id).server = Some(server);
        }
    }

    fn take(&mut self, id: u64) -> Server {
        let member = self.member_mut(id);
        member.frozen = false;
        member.server.take().unwrap_or_else(|| panic!("member {id} does not run"))
    }

    /// Stops a node as an operator does.
    pub async fn stop(&mut self, id: u64) {
        let (code, _) = self.take(id).stop(Signal::TERM).await;
        assert_eq!(code, Some(0), "the exit code of member {id}");
    }

    /// Ends a node as a crash does.
    pub async fn kill(&mut self, id: u64) {
        self.take(id).kill().await;
    }

    /// Stops the time of a node. Its connections stay.
    pub fn freeze(&mut self, id: u64) {
        self.server(id).signal(Signal::STOP);
        self.member_mut(id).frozen = true;
    }

    pub fn thaw(&mut self, id: u64) {
        self.server(id).signal(Signal::CONT);
        self.member_mut(id).frozen = false;
    }

    /// What a node says of itself and of the cluster.
    pub async fn status(&self, id: u64) -> Result<pb::ClusterStatus, Status> {
        let ask = async {
            let channel = client::connect(self.member(id).grpc_address()).await?;
            Ok(MetaServiceClient::new(channel).get_cluster_status(pb::Empty {}).await?.into_inner())
        };
        timeout(STATUS_LIMIT, ask).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no status in time")))
    }

    /// Who leads, as far as those that run know: of several, the one of the latest term.
    pub async fn leader(&self) -> Option<u64> {
        let mut leaders = Vec::new();
        for id in self.running() {
            match self.status(id).await {
                Ok(status) if status.is_leader => leaders.push((status.current_term, id)),
                Ok(_) | Err(_) => {}
            }
        }
        leaders.into_iter().max().map(|(_, id)| id)
    }

    pub async fn wait_for_leader(&self) -> u64 {
        wait::until("a leader", || self.leader()).await
    }

    /// Waits for a leader other than `old`.
    pub async fn wait_for_leader_other_than(&self, old: u64) -> u64 {
        wait::until("another leader", async || self.leader().await.filter(|leader| *leader != old)).await
    }

    /// Waits until every member is what it is to be in the eyes of the leader, and knows who leads.
    pub async fn wait_until_complete(&self) {
        let of_role = |learner: bool| self.members.values().filter(|member| member.learner == learner).count();
        let (voters, learners) = (of_role(false), of_role(true));
        wait::until("all members to have their roles", async || {
            let leader = self.status(self.leader().await?).await.ok()?;
            (leader.voters.len() == voters && leader.non_voters.len() == learners).then_some(())
        })
        .await;
        self.wait_applied_everywhere().await;
    }

    /// Waits until every running node has applied what the leader has in its log now.
    pub async fn wait_applied_everywhere(&self) {
        let last = wait::until("the leader's status", async || {
            Some(self.status(self.leader().await?).await.ok()?.last_log_index)
        })
        .await;
        for id in self.running() {
            wait::until(&format!("member {id} to have applied {last}"), async || {
                let status = self.status(id).await.ok()?;
                (status.leader.is_some() && index(&status.last_applied)? >= last).then_some(())
            })
            .await;
        }
    }

    /// A node's export, by the tool.
    pub async fn export(&self, id: u64) -> Export {
        self.export_as(id, "auto").await
    }

    /// The same with `--consistency`.
    async fn export_as(&self, id: u64, consistency: &str) -> Export {
        let address = self.member(id).grpc_address();
        let ran = metactl([&"export", &"--consistency", &consistency, &"--grpc-api-address", &address]).await;
        Export::parse(ran.expect(0).stdout.lines())
    }

    /// Asserts that all running nodes hold the same state, as of one log id. No client may write meanwhile; a leader still may, which
    /// registers its addresses soon after its election.
    pub async fn assert_same_state(&self) {
        let states = wait::until("exports of all members as of one log id", async || {
            self.wait_applied_everywhere().await;
            let mut states = Vec::new();
            for id in self.running() {
                let Export { applied, sequence, nodes, keys, expires, .. } = self.export_as(id, "local").await;
                states.push((id, Export { applied, sequence, nodes, keys, expires, ..Export::default() }));
            }
            states.iter().all(|(_, state)| state.applied == states[0].1.applied).then_some(states)
        })
        .await;
        let (first_id, first) = &states[0];
        for (id, state) in &states {
            assert_eq!(first, state, "the state of members {first_id} and {id}");
        }
    }
}

/// The index of a log id as text.
fn index(log_id: &str) -> Option<u64> {
    log_id.rsplit_once('.')?.1.parse().ok()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for id in self.ids() {
            let log = self.log(id);
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            eprintln!("the last of {} lines that member {id} logged:\n{}\n", lines.len(), tail.join("\n"));
        }
    }
}

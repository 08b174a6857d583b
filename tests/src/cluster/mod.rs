//! Several real nodes, each with a folder and loopback addresses of its own: made anew or from a backup, stopped,
//! killed, frozen, cut from each other and started again. All are killed on drop; when the test fails, the end of each
//! node's log is printed.

mod layout;
mod watch;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    thread,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

pub use self::layout::Layout;
use crate::{
    binaries,
    client::Client,
    generate,
    loopback::{self, Network},
    proxy::{Processes, Proxy},
    server::{Server, Settings},
    tool::{self, args},
};

/// Bytes of the value of a generated key.
const SEED_VALUE: usize = 1000;
/// Lines of each log that a failed test prints.
const TAIL: usize = 60;

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

    /// Waits for a node that stops by itself; gives its exit code.
    pub async fn ended(&mut self, id: u64) -> Option<i32> {
        self.take(id).ended().await.0
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

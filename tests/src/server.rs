//! A `databend-meta` of its own for a test: on ports that the kernel chose, killed on drop. When the test fails, what
//! the server logged is printed.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use crate::{
    admin, binaries,
    client::Client,
    denied, loopback,
    tool::{self, Ran},
    wait::{self, DEADLINE},
};

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Settings {
    pub raft_dir: PathBuf,
    pub id: Option<u64>,
    pub single: bool,
    /// Where the Raft service listens; `None`: at the advertised host.
    pub raft_listen_host: Option<String>,
    /// Where other members find it.
    pub raft_advertise_host: String,
    pub raft_port: u16,
    pub grpc_address: String,
    pub admin_address: String,
    /// No file of the server's may grow beyond this: writing to it then fails, as on a full disk.
    pub file_limit_kib: Option<u64>,
    /// As well as to standard error.
    pub logs_to_files: bool,
    /// Standard error is added to this file, and is left to its owner to show.
    pub stderr: Option<PathBuf>,
    /// A program that is to run the server, with all of its own arguments.
    pub under: Vec<OsString>,
    pub more: Vec<OsString>,
}

impl Settings {
    /// Starts what is in `raft_dir`.
    pub fn of(raft_dir: &Path) -> Settings {
        Settings {
            raft_dir: raft_dir.to_owned(),
            id: None,
            single: false,
            raft_listen_host: None,
            raft_advertise_host: "127.0.0.1".to_owned(),
            raft_port: free_port(),
            grpc_address: "127.0.0.1:0".to_owned(),
            admin_address: "127.0.0.1:0".to_owned(),
            file_limit_kib: None,
            logs_to_files: false,
            stderr: None,
            under: Vec::new(),
            more: Vec::new(),
        }
    }

    /// Starts a new cluster of one node in `raft_dir`, or what is there already.
    pub fn single(raft_dir: &Path) -> Settings {
        Settings { id: Some(1), single: true, ..Settings::of(raft_dir) }
    }

    fn args(&self) -> Vec<OsString> {
        let mut args = tool::args([
            &"--raft-dir",
            &self.raft_dir,
            &"--raft-listen-host",
            &self.raft_listen_host.as_ref().unwrap_or(&self.raft_advertise_host),
            &"--raft-advertise-host",
            &self.raft_advertise_host,
            &"--raft-api-port",
            &self.raft_port.to_string(),
            &"--grpc-api-address",
            &self.grpc_address,
            &"--admin-api-address",
            &self.admin_address,
            &"--log-stderr-on",
            &"true",
        ]);
        if let Some(id) = self.id {
            args.extend(tool::args([&"--id", &id.to_string()]));
        }
        if !self.logs_to_files {
            args.extend(tool::args([&"--log-file-on", &"false"]));
        }
        if self.single {
            args.push("--single".into());
        }
        args.extend(self.more.iter().cloned());
        args
    }

    fn command_line(&self) -> (PathBuf, Vec<OsString>) {
        let (program, mut args) = match self.file_limit_kib {
            None => (binaries::server(), self.args()),
            Some(kib) => denied::small_files(kib, &binaries::server(), &self.args()),
        };
        let Some((first, rest)) = self.under.split_first() else { return (program, args) };
        args.splice(..0, rest.iter().cloned().chain([program.into()]));
        (first.into(), args)
    }

    /// Starts a server without waiting until it listens. Killed on drop.
    pub fn spawn(&self) -> Child {
        let (program, args) = self.command_line();
        tool::command(&program, &args).spawn().unwrap()
    }

    /// Runs a server that is expected to end by itself.
    pub async fn run(&self) -> Ran {
        tool::ended(self.spawn()).await
    }
}

/// A running server.
pub struct Server {
    child: Child,
    /// Kept, so that the server can always write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
    stderr: PathBuf,
    /// `None`: standard error is shown by somebody else.
    scratch: Option<TempDir>,
    grpc_address: String,
    admin_address: String,
}

/// A server that may not listen yet.
pub struct Starting {
    child: Child,
    stderr: PathBuf,
    scratch: Option<TempDir>,
}

impl Starting {
    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the server was not waited for")
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.expect("the server was started")
    }

    /// Ends it as a crash does, if it has not ended.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the server was started");
    }

    /// Waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not, with what it wrote to standard error.
    pub async fn listening(mut self) -> Server {
        let mut stdout = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let addresses = timeout(DEADLINE, async {
            Some((address(&mut stdout, "gRPC API: ").await?, address(&mut stdout, "admin API: ").await?))
        });
        let Ok(Some((grpc_address, admin_address))) = addresses.await else {
            panic!("the server did not start:\n{}", fs::read_to_string(&self.stderr).unwrap_or_default());
        };
        let Starting { child, stderr, scratch } = self;
        Server { child, _stdout: stdout, stderr, scratch, grpc_address, admin_address }
    }
}

impl Server {
    /// Starts a server's process.
    pub fn spawn(settings: &Settings) -> Starting {
        let (scratch, stderr) = if let Some(stderr) = &settings.stderr {
            (None, stderr.clone())
        } else {
            let scratch = tempfile::tempdir().unwrap();
            let stderr = scratch.path().join("stderr");
            (Some(scratch), stderr)
        };
        let file = File::options().create(true).append(true).open(&stderr).unwrap();
        let (program, args) = settings.command_line();
        let child = tool::command(&program, &args).stderr(Stdio::from(file)).spawn().unwrap();
        Starting { child, stderr, scratch }
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not, with what it wrote to standard error.
    pub async fn start(settings: Settings) -> Server {
        Server::spawn(&settings).listening().await
    }

    /// Starts a server and waits until it leads and has registered its addresses: from then on the log holds what
    /// clients write.
    pub async fn start_leading(settings: Settings) -> Server {
        let raft_port = settings.raft_port;
        let server = Server::start(settings).await;
        wait::until("the server to lead under its own addresses", async || {
            let status = server.admin("/v1/cluster/status").await;
            let leader = &status["leader"];
            let registered = leader["endpoint"]["port"] == raft_port
                && leader["grpc_api_advertise_address"] == server.grpc_address.as_str();
            (status["is_leader"] == true && registered).then_some(())
        })
        .await;
        server
    }

    pub fn grpc_address(&self) -> &str {
        &self.grpc_address
    }

    pub fn admin_address(&self) -> &str {
        &self.admin_address
    }

    /// A client that has logged in.
    pub async fn client(&self) -> Client {
        Client::log_in(&self.grpc_address).await.unwrap()
    }

    /// The JSON at `path` of the admin API.
    pub async fn admin(&self, path: &str) -> serde_json::Value {
        admin::get(&self.admin_address, path).await
    }

    /// The value of a metric, named with its labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = admin::text(&self.admin_address, "/v1/metrics").await;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// The most memory that was resident at a time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        tool::peak_memory(Path::new(&format!("/proc/{}/status", self.id())))
            .expect("Linux tells the memory of a process")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("a process id"), signal).unwrap();
    }

    /// Ends it as a crash does: at once, with nothing flushed.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for a server that stops by itself. Gives the exit code and all that it wrote to standard error.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = timeout(DEADLINE, self.child.wait()).await.expect("the server stops").unwrap();
        (status.code(), self.stderr())
    }

    /// Sends a signal and waits for the end. Gives the exit code and how long it took.
    pub async fn stop(mut self, signal: Signal) -> (Option<i32>, Duration) {
        let began = Instant::now();
        self.signal(signal);
        let status = timeout(DEADLINE, self.child.wait()).await.expect("the server stops").unwrap();
        (status.code(), began.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() && self.scratch.is_some() {
            eprintln!("the server wrote:\n{}", self.stderr());
        }
    }
}

async fn address(stdout: &mut Lines<BufReader<ChildStdout>>, name: &str) -> Option<String> {
    loop {
        let line = stdout.next_line().await.ok()??;
        if let Some(address) = line.strip_prefix(name) {
            return Some(address.to_owned());
        }
    }
}

/// A port that nobody listened on a moment ago, for an address that is written down and not listened on.
pub fn free_port() -> u16 {
    loopback::free_port("127.0.0.1")
}

//! Concurrent clients that read and write a few keys through any member, and take down what they were told. They
//! outlive elections and restarts: a member that can not answer is left for another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use meta_proto::pb;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use crate::{
    client::Client,
    history::{Action, Operation, Outcome, Record, Recorder, When},
    linearizable::assert_linearizable,
    wait,
};

/// After a member that could not answer.
const PAUSE: Duration = Duration::from_millis(20);

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Load {
    pub clients: usize,
    /// Few enough that clients meet.
    pub keys: usize,
    /// Of the keys. Nobody else writes to them, and no other load did before.
    pub prefix: String,
    /// How long a client waits for one answer.
    pub deadline: Duration,
    /// Between two operations of one client: keeps what is to be checked small.
    pub pause: Duration,
    pub seed: u64,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            clients: 6,
            keys: 4,
            prefix: "load/".to_owned(),
            deadline: Duration::from_secs(1),
            pause: Duration::from_millis(3),
            seed: 1,
        }
    }
}

/// Clients at work.
pub struct Running {
    load: Load,
    /// The gRPC addresses.
    members: Vec<String>,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Sets the clients to work on members with these gRPC addresses.
    pub fn start(self, members: Vec<String>) -> Running {
        let (recorder, stop) = (Arc::<Recorder>::default(), Arc::<AtomicBool>::default());
        let tasks = (0..self.clients).map(|id| {
            let (load, stop) = (self.clone(), stop.clone());
            let mut session = Session::new(id, members.clone(), recorder.clone(), self.deadline);
            tokio::spawn(async move {
                let mut draw = StdRng::seed_from_u64(load.seed.wrapping_mul(1000) + id as u64);
                // The newest seq that this client saw of each key.
                let mut seen = vec![0; load.keys];
                while !stop.load(Ordering::Relaxed) {
                    let key = draw.random_range(0..load.keys);
                    let action = action(&mut draw, &session.recorder, seen[key]);
                    match session.perform(&load.key(key), action).await {
                        Some(Outcome::Read(record) | Outcome::Written { result: record, .. }) => {
                            seen[key] = record.map_or(0, |record| record.seq);
                            sleep(load.pause).await;
                        }
                        _ => sleep(PAUSE).await,
                    }
                }
            })
        });
        let tasks = tasks.collect();
        Running { load: self, members, recorder, stop, tasks }
    }

    fn key(&self, n: usize) -> String {
        format!("{}{n}", self.prefix)
    }
}

fn action(draw: &mut StdRng, recorder: &Recorder, seen: u64) -> Action {
    match draw.random_range(0..100) {
        0..45 => Action::Read,
        45..75 => Action::Put { value: recorder.new_value(), when: When::Always },
        75..92 => Action::Put { value: recorder.new_value(), when: When::SeqIs(seen) },
        92..96 => Action::Remove { when: When::SeqIs(seen) },
        _ => Action::Remove { when: When::Always },
    }
}

impl Running {
    /// Where the clients take down what they were told.
    pub fn recorder(&self) -> Arc<Recorder> {
        self.recorder.clone()
    }

    /// The keys that the clients write to.
    pub fn keys(&self) -> Vec<String> {
        (0..self.load.keys).map(|key| self.load.key(key)).collect()
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.recorder.acknowledged()
    }

    /// Waits until `more` writes than now are acknowledged, for as long as there are any: a slow machine takes its time.
    pub async fn writes(&self, more: usize) {
        let goal = self.acknowledged() + more;
        while self.acknowledged() < goal {
            let before = self.acknowledged();
            wait::until_true("another acknowledged write", || self.acknowledged() > before).await;
        }
    }

    /// Stops the clients, reads every key through every member, and gives the history.
    pub async fn stop(self) -> Vec<Operation> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        for member in &self.members {
            let mut session =
                Session::new(self.load.clients, vec![member.clone()], self.recorder.clone(), self.load.deadline);
            for key in (0..self.load.keys).map(|key| self.load.key(key)) {
                let end = self.recorder.now() + wait::DEADLINE;
                while !matches!(session.perform(&key, Action::Read).await, Some(Outcome::Read(_))) {
                    assert!(self.recorder.now() < end, "{member} does not answer a read");
                    sleep(PAUSE).await;
                }
            }
        }
        self.recorder.operations()
    }

    /// Stops the clients and checks what they were told. Gives the history.
    pub async fn check(self) -> Vec<Operation> {
        let history = self.stop().await;
        let count = |wanted: fn(&Outcome) -> bool| history.iter().filter(|op| wanted(&op.outcome)).count();
        let (written, unknown, refused) = (
            count(|outcome| matches!(outcome, Outcome::Written { .. })),
            count(|outcome| *outcome == Outcome::Unknown),
            count(|outcome| *outcome == Outcome::Refused),
        );
        eprintln!("{} operations: {written} answered writes, {unknown} unknown, {refused} refused", history.len());
        assert_linearizable(&history);
        history
    }
}

/// One client, at one member at a time.
struct Session {
    id: usize,
    members: Vec<String>,
    /// Which member is next.
    next: usize,
    client: Option<Client>,
    recorder: Arc<Recorder>,
    deadline: Duration,
}

impl Session {
    fn new(id: usize, members: Vec<String>, recorder: Arc<Recorder>, deadline: Duration) -> Session {
        Session { id, members, next: id, client: None, recorder, deadline }
    }

    /// Performs and records an operation. `None`: no member to ask.
    async fn perform(&mut self, key: &str, action: Action) -> Option<Outcome> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.log_in().await?,
        };
        let invoked = self.recorder.now();
        let answer = timeout(self.deadline, ask(&mut client, key, action)).await;
        let returned = self.recorder.now();
        let outcome = match answer {
            Ok(Ok(outcome)) => {
                self.client = Some(client);
                outcome
            }
            Ok(Err(status)) if nothing_was_done(&status) => Outcome::Refused,
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        };
        self.recorder.push(Operation { client: self.id, key: key.to_owned(), action, invoked, returned, outcome });
        Some(outcome)
    }

    async fn log_in(&mut self) -> Option<Client> {
        let member = &self.members[self.next % self.members.len()];
        self.next += 1;
        timeout(self.deadline, Client::log_in(member)).await.ok()?.ok()
    }
}

/// Whether the server itself says that nothing was done: a status with a source was made on this side, of a connection
/// that broke.
fn nothing_was_done(status: &Status) -> bool {
    let said_by_the_server = std::error::Error::source(status).is_none();
    said_by_the_server && matches!(status.code(), Code::Unavailable | Code::Unauthenticated)
}

async fn ask(client: &mut Client, key: &str, action: Action) -> Result<Outcome, Status> {
    let (value, when) = match action {
        Action::Read => {
            let record = client.get(key).await?;
            return Ok(Outcome::Read(record.map(|pb::SeqV { seq, data, .. }| Record { seq, value: number(&data) })));
        }
        Action::Put { value, when } => (json!({"Update": value.to_string().into_bytes()}), when),
        Action::Remove { when } => (json!("Delete"), when),
    };
    let seq = match when {
        When::Always => json!("Any"),
        When::SeqIs(seq) => json!({ "Exact": seq }),
    };
    let upsert = json!({"key": key, "seq": seq, "value": value, "value_meta": null});
    let reply = client.kv_api(&json!({ "UpsertKV": upsert })).await?;
    Ok(Outcome::Written { prev: record(&reply["prev"]), result: record(&reply["result"]) })
}

/// A record as JSON has it.
fn record(value: &Value) -> Option<Record> {
    let data = value.get("data")?.as_array().expect("data is an array");
    let data: Vec<u8> = data.iter().map(|byte| byte.as_u64().expect("a byte") as u8).collect();
    Some(Record { seq: value["seq"].as_u64().expect("a seq"), value: number(&data) })
}

/// The number that a client of a load wrote.
pub fn number(data: &[u8]) -> u64 {
    std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).expect("a value that a client of this load wrote")
}

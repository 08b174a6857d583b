//! Exports from every member, one after the other for as long as a load runs, and what they must say: each is the state
//! at its own LastApplied, as the entries of the log make it; and a linearizable one is a read of every key, which the
//! checker of the load's history judges with the others.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use meta_proto::pb::{self, Consistency, meta_service_client::MetaServiceClient};
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::Status;

use crate::{
    client::{self, lines, rest},
    export::Export,
    history::{Action, Operation, Outcome, Record, Recorder},
    load::{self, number},
    replay::Replay,
    wait,
};

/// A member that is frozen is left for a while.
const LIMIT: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(50);
/// Exports are no clients of a load.
const CLIENT: usize = 1000;

/// One export.
struct Taken {
    member: String,
    consistency: Consistency,
    export: Export,
}

/// What the exports say together.
#[derive(Default)]
struct Found {
    taken: Vec<Taken>,
    /// Each entry that was in an export, by its index.
    payloads: BTreeMap<u64, Value>,
    /// Entries of which two exports say different things.
    contradictions: Vec<String>,
}

/// Why the exports are not what they must be.
#[derive(Debug)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Exports under way.
pub struct Exporters {
    members: Vec<String>,
    keys: Vec<String>,
    recorder: Arc<Recorder>,
    found: Arc<Mutex<Found>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Exporters {
    /// Exports from every member while `load` runs, which must be the only one that writes. What the cluster holds before
    /// is taken from an export too.
    pub async fn start(members: Vec<String>, load: &load::Running) -> Exporters {
        let (found, stop) = (Arc::<Mutex<Found>>::default(), Arc::<AtomicBool>::default());
        let mut exporters =
            Exporters { members, keys: load.keys(), recorder: load.recorder(), found, stop, tasks: Vec::new() };
        for member in exporters.members.clone() {
            exporters.take(&member, Consistency::Local).await;
            let one = exporters.one(member);
            exporters.tasks.push(tokio::spawn(one));
        }
        exporters
    }

    fn one(&self, member: String) -> impl Future<Output = ()> + 'static {
        let Exporters { members: _, keys, recorder, found, stop, tasks: _ } = self;
        let (keys, recorder, found, stop) = (keys.clone(), recorder.clone(), found.clone(), stop.clone());
        async move {
            let mut turns = [Consistency::Linearizable, Consistency::Local].into_iter().cycle();
            while let (false, Some(consistency)) = (stop.load(Ordering::Relaxed), turns.next()) {
                if let Some(taken) = taken(&member, consistency, &keys, &recorder).await {
                    found.lock().expect("nobody panics in here").add(taken);
                }
                sleep(PAUSE).await;
            }
        }
    }

    /// Takes one more, of a member that answers sooner or later.
    async fn take(&self, member: &str, consistency: Consistency) {
        let what = format!("a {consistency:?} export of {member}");
        let taken = wait::until(&what, || taken(member, consistency, &self.keys, &self.recorder)).await;
        self.found.lock().expect("nobody panics in here").add(taken);
    }

    /// Takes a last one of each kind from every member, and checks them all. The linearizable ones are in the history of
    /// the load by then, which is to be checked after this. Gives the number of exports.
    pub async fn check(mut self) -> Result<usize, Wrong> {
        self.stop.store(true, Ordering::Relaxed);
        for task in std::mem::take(&mut self.tasks) {
            task.await.expect("every export can be read");
        }
        for member in &self.members {
            for consistency in [Consistency::Linearizable, Consistency::Local] {
                self.take(member, consistency).await;
            }
        }
        let found = std::mem::take(&mut *self.found.lock().expect("nobody panics in here"));
        found.check()
    }
}

/// `None`: no export was given, or it broke off.
async fn taken(member: &str, consistency: Consistency, keys: &[String], recorder: &Recorder) -> Option<Taken> {
    let invoked = recorder.now();
    let chunks = timeout(LIMIT, ask(member, consistency)).await.ok()?.ok()?;
    let returned = recorder.now();
    let provenance = chunks.first().and_then(|chunk| chunk.provenance.as_ref()).expect("a provenance");
    assert_eq!(provenance.consistency(), consistency, "{member} gives what it is asked for");
    let export = Export::parse(lines(&chunks));
    if consistency == Consistency::Linearizable {
        let present = export.all();
        for key in keys {
            let record = present.get(key).map(|(seq, data)| Record { seq: *seq, value: number(data) });
            let outcome = Outcome::Read(record);
            let (key, action) = (key.clone(), Action::Read);
            recorder.push(Operation { client: CLIENT, key, action, invoked, returned, outcome });
        }
    }
    Some(Taken { member: member.to_owned(), consistency, export })
}

async fn ask(member: &str, consistency: Consistency) -> Result<Vec<pb::ExportedChunk>, Status> {
    let mut rpc = MetaServiceClient::new(client::connect(member).await?);
    let request = pb::ExportRequest { consistency: consistency.into(), ..pb::ExportRequest::default() };
    rest(rpc.export_v1(request).await?.into_inner()).await
}

impl Found {
    fn add(&mut self, mut taken: Taken) {
        for (index, payload) in std::mem::take(&mut taken.export.payloads) {
            let known = self.payloads.entry(index).or_insert_with(|| payload.clone());
            if *known != payload {
                let contradiction = format!("entry {index} is {known} and, on {}, {payload}", taken.member);
                self.contradictions.push(contradiction);
            }
        }
        self.taken.push(taken);
    }

    fn check(mut self) -> Result<usize, Wrong> {
        if let Some(contradiction) = self.contradictions.first() {
            return Err(Wrong(contradiction.clone()));
        }
        self.taken.sort_by_key(|taken| taken.export.applied);
        let mut replay = self.taken.first().map(|first| Replay::of(&first.export)).unwrap_or_default();
        for Taken { member, consistency, export } in &self.taken {
            let applied = export.applied.unwrap_or_default();
            let what = format!("the {consistency:?} export of {member} at {applied}");
            replay
                .go_on(applied, &self.payloads)
                .map_err(|missing| Wrong(format!("{what} can not be judged: no export has entry {missing}")))?;
            let (expected, found) = (&replay.keys, export.all());
            if *expected != found {
                let other = |(key, record): &(&String, &(u64, Vec<u8>))| found.get(*key) != Some(record);
                let differing: Vec<_> = expected.iter().filter(other).take(5).collect();
                let told = format!("{what} has {} keys, {} are expected", found.len(), expected.len());
                return Err(Wrong(format!("{told}; it differs at {differing:?}")));
            }
            if (replay.sequence, Some(applied)) != (export.sequence, export.committed) {
                return Err(Wrong(format!("{what} has sequence {}, not {}", export.sequence, replay.sequence)));
            }
            let first = export.purged.map_or(0, |purged| purged + 1);
            if !export.log.iter().copied().eq(first..=applied) {
                return Err(Wrong(format!("{what} has a log with a gap: {:?}", export.log)));
            }
        }
        Ok(self.taken.len())
    }
}

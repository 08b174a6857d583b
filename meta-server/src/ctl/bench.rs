//! `databend-metactl bench`: loads a server that runs, and says how fast it is. For any server that speaks the
//! protocol: what it calls (KvApi and KvReadV1) is as old as that.

mod load;
mod report;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum, value_parser};
use tokio::{signal, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Common, CtlError, Server, client::Client, note, print};
use load::{Keys, Taken, Work};
use report::Report;

const EXAMPLES: &str = "\
Each client has a connection of its own, and calls again as soon as it is answered. A write is one KvApi call, which is answered \
when it is on the disks of a majority; a read is one KvReadV1 call of a key that was written, through the leader.

The keys lie under the prefix and a random name, so they replace nothing. They are removed at the end, also after Ctrl-C; with \
--keep, or where the server does not answer any more, the report says where they are.

Examples:
  How many writes does this cluster take from 64 clients?
    databend-metactl bench --grpc-api-address db-1:9191 --clients 64

  Half reads, half writes of 1 KiB that expire, for a minute:
    databend-metactl bench --mode mixed --value-bytes 1024 --ttl 60 --seconds 60

  The same load on another server, as JSON:
    databend-metactl bench --grpc-api-address other:9191 --mode read --json

It competes with those who use the server: mind when you run it.";

/// Load a server with writes or reads, and print throughput and latencies
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    server: Server,
    /// What clients do; mixed is a write and a read in turn
    #[arg(long, value_enum, default_value_t = Mode::Write)]
    mode: Mode,
    /// How many call at the same time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// How long a value is
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = value_parser!(u32).range(0..=1_000_000))]
    value_bytes: u32,
    /// How many keys are written, again and again, and read
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    keys: u64,
    /// Have what is written expire after so many seconds
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// What the keys begin with
    #[arg(long, default_value = "databend-metactl-bench/")]
    prefix: String,
    /// Leave the keys there
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Write,
    Read,
    Mixed,
}

pub(super) async fn run(args: &BenchArgs, common: Common) -> Result<(), CtlError> {
    let address = &args.server.grpc_api_address;
    let mut clients = Vec::new();
    for _ in 0..args.clients {
        clients.push(Arc::new(Client::connect(address, common.timeout()).await?));
    }
    let interrupted = CancellationToken::new();
    let on_signal = interrupted.clone();
    let signal = tokio::spawn(async move {
        if signal::ctrl_c().await.is_ok() {
            on_signal.cancel();
        }
    });
    let prefix = format!("{}{:08x}/", args.prefix, rand::random::<u32>());
    let keys = Arc::new(Keys::new(&prefix, args.keys, args.value_bytes as usize, args.ttl));

    let prepared = if args.mode == Mode::Write {
        Taken::default()
    } else {
        note(&format!("writing the {} keys to be read", args.keys));
        at_once(&clients, &keys, |client, keys| load::fill(client, keys, interrupted.clone())).await?
    };
    note(&format!("{} clients for {} s, under {prefix}", args.clients, args.seconds));
    let began = Instant::now();
    let end = began + Duration::from_secs(args.seconds.into());
    let work = match args.mode {
        Mode::Write => Work::Write,
        Mode::Read => Work::Read,
        Mode::Mixed => Work::Both,
    };
    let taken = at_once(&clients, &keys, |client, keys| load::call_until(end, work, client, keys, interrupted.clone()));
    let taken = taken.await?;
    let seconds = began.elapsed().as_secs_f64();

    if !args.keep {
        note("removing the keys; Ctrl-C leaves them");
        signal.abort();
        keys.start_removing();
        tokio::select! {
            removed = at_once(&clients, &keys, load::remove) => drop(removed?),
            _ = signal::ctrl_c() => {}
        }
    }
    let left = keys.left();
    let report = Report { address, args, prefix: &prefix, prepared: &prepared, taken: &taken, seconds, left };
    print(&if common.json { report.as_json()? } else { report.as_text() })?;
    match taken.first_error() {
        Some(example) if taken.calls() == 0 => {
            Err(CtlError::NoCall { address: address.clone(), example: example.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Has every client do something, and puts together what they took.
async fn at_once<F: Future<Output = Taken> + Send + 'static>(
    clients: &[Arc<Client>],
    keys: &Arc<Keys>,
    work: impl Fn(Arc<Client>, Arc<Keys>) -> F,
) -> Result<Taken, CtlError> {
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(work(client.clone(), keys.clone()));
    }
    let mut taken = Taken::default();
    while let Some(ended) = tasks.join_next().await {
        taken.add(ended.map_err(|error| CtlError::Runtime(error.into()))?);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use meta_proto::pb;
    use tonic::Status;

    use super::*;
    use crate::ctl::testing::{Export, FakeServer};

    fn args(address: &str, mode: Mode) -> BenchArgs {
        BenchArgs {
            server: Server { grpc_api_address: address.to_owned() },
            mode,
            clients: 3,
            seconds: 1,
            value_bytes: 8,
            keys: 5,
            ttl: None,
            prefix: "p/".to_owned(),
            keep: false,
        }
    }

    fn keys(ttl: Option<u32>) -> Arc<Keys> {
        Arc::new(Keys::new("p/", 5, 8, ttl))
    }

    /// A server that answers all writes and reads like this, and clients of it.
    async fn clients(kv_api: Result<pb::RaftReply, Status>, read: Option<pb::SeqV>) -> (String, Vec<Arc<Client>>) {
        let mut server = FakeServer::exporting(Export::Unimplemented);
        server.kv_api = Some(kv_api);
        server.kv_read_v1 = pb::StreamItem { key: "k".to_owned(), value: read };
        let address = server.start().await.to_string();
        let client = Client::connect(&address, Duration::from_secs(10)).await.unwrap();
        (address, vec![Arc::new(client)])
    }

    fn written() -> pb::RaftReply {
        let data = r#"{"ident":null,"prev":null,"result":{"seq":1,"meta":null,"data":[120]}}"#.to_owned();
        pb::RaftReply { data, error: String::new() }
    }

    async fn loaded(clients: &[Arc<Client>], keys: &Arc<Keys>, work: Work) -> Taken {
        let end = Instant::now() + Duration::from_millis(300);
        let stop = CancellationToken::new();
        at_once(clients, keys, |client, keys| load::call_until(end, work, client, keys, stop.clone())).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_answered_is_counted_and_timed() {
        let value = pb::SeqV { seq: 1, data: b"x".to_vec(), meta: None };
        let (_, clients) = clients(Ok(written()), Some(value)).await;
        let keys = keys(Some(60));
        let taken = loaded(&clients, &keys, Work::Both).await;
        let (writes, reads) = (taken.writes.as_ref().unwrap(), taken.reads.as_ref().unwrap());
        assert!(writes.len() >= 5 && reads.len().abs_diff(writes.len()) <= 1, "{} {}", writes.len(), reads.len());
        assert!(taken.first_error().is_none() && keys.written() == 5);
        keys.start_removing();
        at_once(&clients, &keys, load::remove).await.unwrap();
        assert_eq!(keys.left(), 0);
    }

    #[tokio::test]
    async fn errors_are_counted_by_kind() {
        let (_, refused) = clients(Err(Status::unavailable("no leader")), None).await;
        let taken = loaded(&refused, &keys(None), Work::Both).await;
        let kinds = |taken: &Taken| taken.errors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(kinds(&taken), ["Unavailable"], "who was refused may find nothing");
        assert!(taken.writes.is_none() && taken.first_error().unwrap().contains("no leader"));
        let keys = keys(None);
        loaded(&refused, &keys, Work::Write).await;
        keys.start_removing();
        at_once(&refused, &keys, load::remove).await.unwrap();
        assert!(keys.left() > 0 && keys.left() == keys.written());

        let (_, forgetful) = clients(Ok(written()), None).await;
        let taken = loaded(&forgetful, &self::keys(None), Work::Both).await;
        assert_eq!(kinds(&taken), ["a written key is not there"]);
    }

    #[tokio::test]
    async fn a_server_that_answers_no_call_is_an_error() {
        let (address, _) = clients(Err(Status::unavailable("no leader")), None).await;
        let common = Common { json: false, timeout: std::num::NonZeroU64::new(5).unwrap() };
        let error = run(&args(&address, Mode::Write), common).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{address} did nothing of what it was asked: ")), "{error}");
    }
}

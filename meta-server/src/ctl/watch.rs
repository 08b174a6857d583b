//! `databend-metactl watch`: the records under a prefix, and then their changes, line by line until somebody ends it.

mod text;

use std::{
    future::pending,
    io::{self, ErrorKind},
};

use backup_plugin::record::SeqV;
use clap::Args;
use serde_json::{Value, json as value};
use tokio::signal::unix::{SignalKind, signal};

use self::text::EventText;
use super::{
    Common, CtlError, Server,
    client::{Client, WatchEvent},
    json, print_lines,
};
use crate::watch::prefix_end;

const EXAMPLES: &str = "\
First come the records that are there, as INIT; then `CHANGE:None`; then every change as the server applies it, with the record before and \
after it: `None` where there is none. No change is left out and none comes twice. A server that can not keep that up, because \
the watcher reads too slowly or because it was behind and took over the leader's state as a whole, says so and ends the watch.

Ctrl-C ends it, with exit code 0; a server that goes away, with 1. --timeout is for the first answer: after that there is none.

Examples:
  $ databend-metactl watch --prefix a/
  received-watch-event: INIT:(a/b: None -> (seq=2 [proposed=2026-11-22T12:08:45.325] 'world'))
  received-watch-event: CHANGE:None
  received-watch-event: CHANGE:(a/c: None -> (seq=3 [proposed=2026-11-22T12:08:47.671] 'x'))
  received-watch-event: CHANGE:(a/c: (seq=3 [proposed=2026-11-22T12:08:47.671] 'x') -> None)

  Each event as one line of JSON:
    databend-metactl watch --prefix a/ --json";

/// Behind every key that people use, and the last that a server takes.
const BEHIND_ALL: &str = "\u{10ffff}";

/// Show the records under a prefix, and then every change to them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    server: Server,
    /// What the keys start with; "" is all keys
    #[arg(long)]
    prefix: String,
}

/// Watches until a signal comes, nobody reads any more, or the server ends it, which is an error.
pub(super) async fn run(args: &WatchArgs, common: Common) -> Result<(), CtlError> {
    let stop = stop_signal()?;
    tokio::select! {
        watched = watch(args, common) => match watched {
            Err(CtlError::Stdout(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        },
        () = stop => Ok(()),
    }
}

/// Ends when the operator, or whoever started this, has enough.
fn stop_signal() -> Result<impl Future<Output = ()>, CtlError> {
    let listen = || -> io::Result<_> { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) };
    let (mut interrupt, mut terminate) = listen().map_err(CtlError::Runtime)?;
    Ok(async move {
        tokio::select! {
            Some(()) = interrupt.recv() => {}
            Some(()) = terminate.recv() => {}
            else => pending().await,
        }
    })
}

async fn watch(args: &WatchArgs, common: Common) -> Result<(), CtlError> {
    let client = Client::connect(&args.server.grpc_api_address, common.timeout()).await?;
    let end = prefix_end(&args.prefix).unwrap_or_else(|| BEHIND_ALL.to_owned());
    let mut events = client.watch(&args.prefix, &end).await?;
    loop {
        let event = events.next().await?;
        print_lines([if common.json {
            json(&as_json(&event))?
        } else {
            format!("received-watch-event: {}", EventText(&event))
        }])?;
    }
}

fn as_json(event: &WatchEvent) -> Value {
    let record = |record: &Option<SeqV>| value!(record);
    let change = event.change.as_ref();
    value!({
        "is_initialization": event.is_initialization,
        "event": change.map(|(key, change)| {
            value!({"key": key, "prev": record(&change.prev), "current": record(&change.result)})
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Change;

    #[test]
    fn an_event_is_one_line_of_json() {
        let record = SeqV { seq: 2, meta: None, data: vec![1] };
        let change = Change { prev: None, result: Some(record) };
        let event = WatchEvent { is_initialization: true, change: Some(("k".to_owned(), change)) };
        assert_eq!(
            json(&as_json(&event)).unwrap(),
            r#"{"event":{"current":{"data":[1],"meta":null,"seq":2},"key":"k","prev":null},"is_initialization":true}"#
        );
        let mark = WatchEvent { is_initialization: false, change: None };
        assert_eq!(json(&as_json(&mark)).unwrap(), r#"{"event":null,"is_initialization":false}"#);
    }
}

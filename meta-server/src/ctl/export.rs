//! `databend-metactl export`: makes a backup, of a running server or of the folder of a stopped one.
//!
//! Both ways end in the same sink, so a file appears whole or not at all whichever it was.

use std::{
    ffi::OsString,
    fmt::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use backup_plugin::{
    export::{self, ExportSummary},
    source::BackupView as _,
};
use clap::Args;
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};
use tokio_stream::StreamExt;

use super::{
    Common, CtlError, Server, block_on,
    client::Client,
    json, note, print,
    sink::{self, LineError, Sink},
};
use crate::backup::offline::{OfflineBackup, PrivateCopy};

/// The lines that go from the folder's thread to the file's at once.
const OFFLINE_CHUNK_LINES: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  Back up a running cluster, through any of its members:
    databend-metactl export --grpc-api-address 127.0.0.1:9191 backup.ndjson

  Back up the folder of a stopped server:
    databend-metactl export --raft-dir /var/lib/databend-meta backup.ndjson

  To standard output, compressed on the way:
    databend-metactl export | zstd > backup.ndjson.zst

The file appears under its name only when it is whole and on disk; until then an older file of that name stays. It is \
readable by its owner alone. A symbolic link is followed, and the file behind it is replaced.";

/// Make a backup: of a running server, or of the folder of a stopped one
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    server: Server,
    /// Read the folder of a stopped server instead of asking a running one
    #[arg(long, value_name = "FOLDER")]
    raft_dir: Option<PathBuf>,
    /// The backup file to write; without one, or when it is "", standard output. With --json the result then goes to
    /// standard error
    #[arg(long, value_name = "FILE")]
    db: Option<OsString>,
    /// The same as --db
    #[arg(value_name = "FILE", conflicts_with = "db")]
    file: Option<OsString>,
    /// Lines in a message, at the most; the server bounds its bytes as well
    #[arg(long, value_name = "LINES")]
    chunk_size: Option<u64>,
    /// Accepted from old command lines, and ignored
    #[arg(long, hide = true)]
    id: Option<u64>,
}

/// What a backup came to.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    /// `None`: standard output.
    file: Option<&'a Path>,
    #[serde(flatten)]
    summary: ExportSummary,
    seconds: f64,
    /// Of a stopped server: how many entries are above the last id that is known to be committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries_beyond_commit: Option<u64>,
}

pub(super) fn run(args: &ExportArgs, common: Common) -> Result<(), CtlError> {
    refuse_inside_store(args)?;
    // Made here to be removed last: after a signal, a thread that is not waited for may still be writing to it.
    let copy = args.raft_dir.as_ref().map(|_| PrivateCopy::create()).transpose()?;
    block_on(export(args, copy.as_ref(), common))
}

/// A backup inside the store would be in the way of the store, or, by the name of one of its files, the end of it.
fn refuse_inside_store(args: &ExportArgs) -> Result<(), CtlError> {
    let (Some(raft_dir), Some(file)) = (&args.raft_dir, sink::path(args.db.as_ref(), args.file.as_ref())) else {
        return Ok(());
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (raft_dir.canonicalize(), folder.canonicalize()) {
        (Ok(store), Ok(folder)) if folder.starts_with(&store) => {
            Err(CtlError::InsideStore { file, raft_dir: raft_dir.clone() })
        }
        // What is missing is told of where it is opened.
        _ => Ok(()),
    }
}

async fn export(args: &ExportArgs, copy: Option<&PrivateCopy>, common: Common) -> Result<(), CtlError> {
    let began = Instant::now();
    let file = sink::path(args.db.as_ref(), args.file.as_ref());
    let file = file.as_deref();
    let work = async {
        match (&args.raft_dir, copy) {
            (Some(raft_dir), Some(copy)) => {
                from_folder(raft_dir, copy, file).await.map(|(summary, beyond)| (summary, Some(beyond)))
            }
            _ => from_server(args, common.timeout(), file).await.map(|summary| (summary, None)),
        }
    };
    // Whichever way the work ends, what it has begun is removed when it is dropped. It never blocks this thread, except for the
    // last step of a file, so that a signal is always seen.
    let (summary, entries_beyond_commit) = tokio::select! {
        result = work => result?,
        error = interrupted() => return Err(error),
    };

    let exported = Exported { file, summary, seconds: began.elapsed().as_secs_f64(), entries_beyond_commit };
    match (common.json, file) {
        (false, _) => note(&exported.report()),
        (true, Some(_)) => print(&json(&exported)?)?,
        // Standard output is the backup, and nothing else.
        (true, None) => note(&json(&exported)?),
    }
    Ok(())
}

/// Waits until the operator, or the system that stops, wants no more of this.
async fn interrupted() -> CtlError {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            CtlError::Interrupted
        }
        (Err(error), _) | (_, Err(error)) => CtlError::Runtime(error),
    }
}

/// The sink is opened first: a destination that takes no backup is told of before the server works for it.
async fn from_server(args: &ExportArgs, timeout: Duration, file: Option<&Path>) -> Result<ExportSummary, CtlError> {
    let mut sink = Sink::open(file)?;
    let client = Client::connect(&args.server.grpc_api_address, timeout).await?;
    let mut chunks = client.export(args.chunk_size).await?;
    while let Some(lines) = chunks.next().await? {
        sink = write(sink, lines, client.address()).await?;
    }
    publish(sink, client.address())
}

/// Also tells how many log entries are above the last known commit.
async fn from_folder(
    raft_dir: &Path,
    copy: &PrivateCopy,
    file: Option<&Path>,
) -> Result<(ExportSummary, u64), CtlError> {
    let mut sink = Sink::open(file)?;
    let from = raft_dir.display().to_string();
    let (dir, copy) = (raft_dir.to_owned(), copy.path().to_owned());
    let backup = blocking(move || OfflineBackup::open(&dir, &copy)).await??;
    let beyond = backup.origin().tail;
    let mut chunks = export::chunks(backup, OFFLINE_CHUNK_LINES);
    while let Some(lines) = chunks.next().await {
        let lines = lines.map_err(|source| CtlError::ReadStore { path: raft_dir.to_owned(), source })?;
        sink = write(sink, lines, &from).await?;
    }
    Ok((publish(sink, &from)?, beyond))
}

/// Writes lines on a thread of its own: a disk that is slow or a pipe that nobody reads holds up nothing else.
async fn write(mut sink: Sink, lines: Vec<String>, from: &str) -> Result<Sink, CtlError> {
    let written = blocking(move || sink.write_lines(&lines).map(|()| sink)).await?;
    written.map_err(|error| match error {
        LineError::NotAnExport(source) => CtlError::NotAnExport { from: from.to_owned(), source },
        LineError::Write(error) => error,
    })
}

/// Gives a backup its name, if something can be restored from it.
fn publish(sink: Sink, from: &str) -> Result<ExportSummary, CtlError> {
    match sink.summary() {
        ExportSummary { lines: 0, .. } => Err(CtlError::NothingSent { from: from.to_owned() }),
        summary if !restorable(summary) => Err(CtlError::NothingToRestore { from: from.to_owned() }),
        _ => sink.finish(),
    }
}

/// Whether there is log or state; an import refuses what has neither.
fn restorable(summary: &ExportSummary) -> bool {
    const HEAD: [&str; 5] = ["DataHeader", "NodeId", "Vote", "Committed", "Purged"];
    summary.records.iter().any(|count| !HEAD.contains(&count.kind.as_str()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CtlError> {
    spawn_blocking(work).await.map_err(|error| CtlError::Runtime(error.into()))
}

impl Exported<'_> {
    fn report(&self) -> String {
        let to = self.file.map_or("standard output".to_owned(), |file| file.display().to_string());
        let ExportSummary { records, lines, bytes, last_applied } = &self.summary;
        let mut text = format!("exported {lines} lines, {bytes} bytes, in {:.1} s to {to}\n", self.seconds);
        // Writing to a String does not fail.
        for count in records {
            let _ = writeln!(text, "  {:<17} {:>9}", count.kind, count.lines);
        }
        let _ = match last_applied {
            Some(log_id) => writeln!(text, "last applied: {log_id}"),
            None => writeln!(text, "last applied: nothing, the log holds all there is"),
        };
        if let Some(beyond @ 1..) = self.entries_beyond_commit {
            let _ = writeln!(
                text,
                "{beyond} log entries are above the last known commit; they may have been acknowledged, so they are in"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tonic::Status;

    use super::*;
    use crate::{
        ctl::{
            import::{self, Again, ImportArgs},
            testing::{Export, FakeServer},
        },
        error_chain::chain,
    };

    const HEADER: &str = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#;
    const VOTE: &str = r#"["raft_log",{"Vote":null}]"#;
    const SEQUENCE: &str = r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":0}}]"#;

    fn exported() -> Exported<'static> {
        let mut summary = ExportSummary::default();
        for line in include_str!("../../../tests/fixtures/v004-tail-applied.ndjson").lines() {
            summary.add(line).unwrap();
        }
        Exported { file: Some(Path::new("b.ndjson")), summary, seconds: 0.25, entries_beyond_commit: Some(3) }
    }

    #[test]
    fn the_report_says_what_the_backup_holds() {
        insta::assert_snapshot!(exported().report());
    }

    #[test]
    fn the_result_as_json_is_one_object() {
        insta::assert_snapshot!(json(&exported()).unwrap());
    }

    #[tokio::test]
    async fn the_folder_of_a_stopped_server_gives_back_what_was_imported() {
        let folder = TempDir::new().unwrap();
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/v004-tail-applied.ndjson");
        let (raft_dir, file) = (folder.path().join("raft"), folder.path().join("b"));
        let args = ImportArgs {
            raft_dir: raft_dir.clone(),
            db: Some(fixture.into()),
            file: None,
            id: None,
            initial_cluster: Vec::new(),
        };
        import::run(&args, Again::Import, false).unwrap();
        let copy = PrivateCopy::create().unwrap();
        let (summary, beyond) = from_folder(&raft_dir, &copy, Some(&file)).await.unwrap();
        assert_eq!((summary, beyond), (exported().summary, 0));
        assert_eq!(fs::read_to_string(&file).unwrap(), fs::read_to_string(fixture).unwrap());
    }

    #[tokio::test]
    async fn a_folder_without_a_store_leaves_the_older_backup() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("b");
        fs::write(&file, "old").unwrap();
        let copy = PrivateCopy::create().unwrap();
        assert!(from_folder(&folder.path().join("none"), &copy, Some(&file)).await.is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// Exports from `server` over an older backup; gives the result and what the file then holds.
    async fn export_over_old(server: FakeServer) -> (Result<ExportSummary, CtlError>, String) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("b");
        fs::write(&file, "old").unwrap();
        let args = ExportArgs {
            server: Server { grpc_api_address: server.start().await.to_string() },
            raft_dir: None,
            db: None,
            file: None,
            chunk_size: None,
            id: None,
        };
        let result = from_server(&args, Duration::from_millis(500), Some(&file)).await;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
        (result, fs::read_to_string(&file).unwrap())
    }

    fn chunks(lines: &[&[&str]], end: Option<Status>) -> Export {
        let chunks = lines.iter().map(|chunk| chunk.iter().map(|&line| line.to_owned()).collect()).collect();
        Export::Chunks(chunks, end)
    }

    #[tokio::test]
    async fn what_the_server_sends_becomes_the_file() {
        let long = format!(r#"["state_machine/0",{{"GenericKV":{{"key":"{}"}}}}]"#, "k".repeat(5_000_000));
        let (result, file) = export_over_old(FakeServer::exporting(chunks(
            &[&[HEADER], &[r#"["raft_log",{"NodeId":1}]"#, &long]],
            None,
        )))
        .await;
        assert_eq!(result.unwrap().lines, 3);
        assert_eq!(file, format!("{HEADER}\n[\"raft_log\",{{\"NodeId\":1}}]\n{long}\n"));
    }

    #[tokio::test]
    async fn an_older_server_is_asked_as_it_knows_it() {
        let mut server = FakeServer::exporting(Export::Unimplemented);
        server.export = chunks(&[&[HEADER, SEQUENCE]], None);
        let (result, file) = export_over_old(server).await;
        assert_eq!(result.unwrap().lines, 2);
        assert_eq!(file, format!("{HEADER}\n{SEQUENCE}\n"));
    }

    #[tokio::test]
    async fn an_export_that_fails_midway_leaves_the_older_backup() {
        for (export, expected) in [
            (chunks(&[&[HEADER]], Some(Status::internal("disk gone"))), "disk gone (Internal)"),
            (chunks(&[&[HEADER], &["{}"]], None), "is not an export: line 2 is not a record of an export: {}"),
            (chunks(&[&["<html>"]], None), "line 1 is not the header of an export: <html>"),
            (chunks(&[], None), "sent nothing at all, not even a header"),
            (chunks(&[&[HEADER, VOTE]], None), "sent no log and no state: there would be nothing to restore"),
            (Export::Stalls(vec![HEADER.to_owned()]), "did not answer the export within"),
            (Export::Unimplemented, "Export at 127.0.0.1:"),
        ] {
            let (result, file) = export_over_old(FakeServer::exporting(export)).await;
            let error = chain(&result.unwrap_err());
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("127.0.0.1:"), "{error} does not say which server");
            assert_eq!(file, "old");
        }
    }
}

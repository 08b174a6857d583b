//! `databend-metactl export`: makes a backup, of a running server or of the folder of a stopped one.
//!
//! Both ways end in the same sink, so a file appears whole or not at all whichever it was. What is said of the result
//! is `report`'s.

pub(super) mod report;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use backup_plugin::{
    export::{self, ExportSummary},
    input::Compression,
    provenance::{Consistency, Provenance, Wanted},
    record::LogId,
    source::{BackupView as _, Extent},
    urgency::Urgency,
};
use clap::{Args, ValueEnum};
use meta_proto::Lines;
use tokio::task::spawn_blocking;
use tokio_stream::StreamExt;

use self::report::{Exported, THIS, loud, warning};
use super::{
    Common, CtlError, Server, block_on,
    client::Client,
    json, note,
    older::{For, Rewriter},
    print,
    signals::interrupted,
    sink::{self, Destination, Sink},
};
use crate::backup::offline::{OfflineBackup, PrivateCopy};

const EXAMPLES: &str = "\
Examples:
  Back up a running cluster, through any of its members:
    databend-metactl export --grpc-api-address 127.0.0.1:9191 backup.ndjson

  Refuse a backup that may miss acknowledged writes:
    databend-metactl export --consistency linearizable backup.ndjson

  Back up the folder of a stopped server:
    databend-metactl export --raft-dir /var/lib/databend-meta backup.ndjson

  Back up for a Databend of 2023, which reads data version V002:
    databend-metactl export --data-version V002 backup.ndjson

  Keep the way that leads to the state, to restore a moment on it:
    databend-metactl export --with-history backup.ndjson

  Compressed:
    databend-metactl export backup.ndjson.zst

  To standard output, sealed and compressed on the way:
    databend-metactl export --seal --compress zstd | ssh backups 'cat > backup.ndjson.zst'

The file appears under its name only when it is whole and on disk; until then an older file of that name stays. It is \
readable by its owner alone. It is sealed: its last line proves that it is whole, and every command that reads it \
checks that. A symbolic link is followed, and the file behind it is replaced.";

/// Of a folder: no message bounds the lines in a chunk, and each chunk is handed from thread to thread.
const FOLDER_CHUNK_LINES: u64 = 4 * export::LARGE_CHUNK_LINES;

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
    /// standard error, as the last line
    #[arg(long, value_name = "FILE")]
    db: Option<OsString>,
    /// The same as --db
    #[arg(value_name = "FILE", conflicts_with = "db")]
    file: Option<OsString>,
    /// Lines in a message, at the most; the server bounds its bytes as well
    #[arg(long, value_name = "LINES")]
    chunk_size: Option<u64>,
    /// What a backup of a running server has to include. Keep --timeout above 5 s: below, it ends before auto falls
    /// back
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto", conflicts_with = "raft_dir")]
    consistency: HowConsistent,
    #[command(flatten)]
    wanted: For,
    /// Seal standard output too, and a backup for an older version; other files always are. Without a seal nobody can
    /// see that the end is missing
    #[arg(long)]
    seal: bool,
    /// How to compress the backup; by default by the file's name, .zst or .gz, and not at all on standard output
    #[arg(long, value_enum, value_name = "HOW")]
    compress: Option<HowCompressed>,
    /// Write the oldest state that the node has, and the whole log after it, so that an import can stop anywhere in between:
    /// `import --to-index`, `--to-time`
    #[arg(long, conflicts_with = "logs")]
    with_history: bool,
    /// Which log entries go with the state; without this, those that lead up to it, and of a folder all there are
    #[arg(long, value_enum, value_name = "WHICH")]
    logs: Option<Logs>,
    /// Accepted from old command lines, and ignored
    #[arg(long, hide = true)]
    id: Option<u64>,
}

/// What the operator types for [`Compression`].
#[derive(Debug, Clone, Copy, ValueEnum)]
enum HowCompressed {
    Zstd,
    Gzip,
    None,
}

impl From<HowCompressed> for Compression {
    fn from(how: HowCompressed) -> Compression {
        match how {
            HowCompressed::Zstd => Compression::Zstd,
            HowCompressed::Gzip => Compression::Gzip,
            HowCompressed::None => Compression::None,
        }
    }
}

/// What the operator types for [`Wanted`].
#[derive(Debug, Clone, Copy, ValueEnum)]
enum HowConsistent {
    /// Linearizable; or local, with a warning, where no leader answers the server within 5 s
    Auto,
    /// Every write that was acknowledged before the export began, whichever node is asked; fails where no leader
    /// answers
    Linearizable,
    /// What the node that is asked has applied, at once and without any other node; may miss acknowledged writes
    Local,
}

/// What the operator types for an [`Extent`].
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Logs {
    /// None: the state alone, which is all that a restore as a new cluster needs
    None,
    /// All that the node has, what is not known to be committed included
    All,
}

impl ExportArgs {
    fn extent(&self) -> Extent {
        match self.logs {
            _ if self.with_history => Extent::History,
            None => Extent::Moment,
            Some(Logs::None) => Extent::StateOnly,
            Some(Logs::All) => Extent::WholeLog,
        }
    }
}

impl From<HowConsistent> for Wanted {
    fn from(how: HowConsistent) -> Wanted {
        match how {
            HowConsistent::Auto => Wanted::Auto,
            HowConsistent::Linearizable => Wanted::Linearizable,
            HowConsistent::Local => Wanted::Local,
        }
    }
}

pub(super) fn run(args: &ExportArgs, common: Common) -> Result<(), CtlError> {
    refuse_inside_store(args)?;
    if args.raft_dir.is_none() {
        // The server is often on the same machine. Threads that are started from here on are like this one.
        Urgency::Background.apply();
    }
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
    let destination = Destination::new(file, args.seal, args.compress.map(Into::into), args.wanted.data_version);
    let work = async {
        match (&args.raft_dir, copy) {
            (Some(raft_dir), Some(copy)) => from_folder(raft_dir, copy, args.extent(), destination, args.wanted).await,
            _ => from_server(args, common.timeout(), destination).await,
        }
    };
    // Whichever way the work ends, what it has begun is removed when it is dropped. It never blocks this thread, except
    // for the last step of a file, so that a signal is always seen.
    let (summary, provenance) = tokio::select! {
        result = work => result?,
        error = interrupted() => return Err(error),
    };

    let exported = Exported::new(file, summary, began.elapsed().as_secs_f64(), provenance);
    match (common.json, file) {
        (false, _) => note(&exported.report()),
        (true, Some(_)) => print(&json(&exported)?)?,
        // Standard output is the backup, and nothing else.
        (true, None) => note(&json(&exported)?),
    }
    Ok(())
}

/// A backup, and where it comes from; `None` where the server did not say.
type Backup = (ExportSummary, Option<Provenance>);

/// The sink is opened first: a destination that takes no backup is told of before the server works for it.
async fn from_server(args: &ExportArgs, timeout: Duration, to: Destination<'_>) -> Result<Backup, CtlError> {
    let mut sink = Sink::open(to, Urgency::Background)?;
    let client = Client::connect(&args.server.grpc_api_address, timeout).await?;
    let mut chunks = client.export(args.chunk_size, args.consistency.into(), args.extent()).await?;
    if let Some(warning) = chunks.provenance().and_then(|provenance| warning(THIS, provenance)) {
        // Already now: the stream may be long, and the operator may be able to do something about it.
        note(&loud(&warning));
    }
    let applied = chunks.provenance().and_then(|provenance| provenance.origin.last_applied);
    sink.rewrite(rewriter(args.wanted, applied, client.address())?);
    while let Some(lines) = chunks.next().await? {
        sink = write(sink, lines, client.address()).await?;
    }
    let provenance = chunks.provenance().cloned();
    let summary = publish(sink, client.address(), provenance.as_ref())?;
    Ok((summary, provenance))
}

async fn from_folder(
    raft_dir: &Path,
    copy: &PrivateCopy,
    extent: Extent,
    to: Destination<'_>,
    wanted: For,
) -> Result<Backup, CtlError> {
    let mut sink = Sink::open(to, Urgency::Now)?;
    let from = raft_dir.display().to_string();
    let (dir, copy) = (raft_dir.to_owned(), copy.path().to_owned());
    let backup = blocking(move || OfflineBackup::open_extent(&dir, &copy, extent)).await??;
    sink.rewrite(rewriter(wanted, backup.origin().last_applied, &from)?);
    let provenance = Provenance { origin: backup.origin(), consistency: Consistency::Offline, fallback: None };
    if let left_out @ 1.. = backup.left_out() {
        note(&loud(&format!(
            "{left_out} log entries are above the last known commit, and left out; they may have been acknowledged"
        )));
    }
    let mut chunks = export::chunks(backup, FOLDER_CHUNK_LINES, Urgency::Now);
    while let Some(lines) = chunks.next().await {
        let lines = lines.map_err(|source| CtlError::ReadStore { path: raft_dir.to_owned(), source })?;
        sink = write(sink, lines, &from).await?;
    }
    Ok((publish(sink, &from, Some(&provenance))?, Some(provenance)))
}

fn rewriter(wanted: For, applied: Option<LogId>, from: &str) -> Result<Option<Rewriter>, CtlError> {
    Rewriter::new(wanted, applied).map_err(|source| CtlError::Older { from: from.to_owned(), source })
}

/// Writes lines on a thread of its own: a disk that is slow or a pipe that nobody reads holds up nothing else.
async fn write(mut sink: Sink, lines: Lines, from: &str) -> Result<Sink, CtlError> {
    let written = blocking(move || sink.write_lines(&lines).map(|()| sink)).await?;
    written.map_err(|error| error.of(from))
}

/// Gives a backup its name, if something can be restored from it.
fn publish(mut sink: Sink, from: &str, provenance: Option<&Provenance>) -> Result<ExportSummary, CtlError> {
    sink.end_lines().map_err(|error| error.of(from))?;
    match sink.summary() {
        ExportSummary { lines: 0, .. } => Err(CtlError::NothingSent { from: from.to_owned() }),
        summary if !restorable(summary) => Err(CtlError::NothingToRestore { from: from.to_owned() }),
        _ => sink.finish(provenance),
    }
}

/// Whether there is log or state; an import refuses what has neither.
fn restorable(summary: &ExportSummary) -> bool {
    const HEAD: [&str; 7] = ["DataHeader", "NodeId", "Vote", "Committed", "Purged", "RaftStateKV", "LogMeta"];
    summary.records.iter().any(|count| !HEAD.contains(&count.kind.as_str()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CtlError> {
    spawn_blocking(work).await.map_err(|error| CtlError::Runtime(error.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use meta_proto::pb;
    use tempfile::TempDir;
    use tonic::Status;

    use super::*;
    use crate::{
        ctl::{
            import::{self, Again, ImportArgs, ImportHow, Restored},
            testing::{Export, FakeServer},
        },
        error_chain::chain,
    };

    const HEADER: &str = r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#;
    const VOTE: &str = r#"["raft_log",{"Vote":null}]"#;
    const SEQUENCE: &str = r#"["state_machine/0",{"Sequences":{"key":"generic-kv","value":0}}]"#;

    #[tokio::test]
    async fn the_folder_of_a_stopped_server_gives_back_what_was_imported() {
        let folder = TempDir::new().unwrap();
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/v004-tail-applied.ndjson");
        let (raft_dir, file) = (folder.path().join("raft"), folder.path().join("b"));
        let args = ImportArgs {
            raft_dir: raft_dir.clone(),
            restored: Restored { db: Some(fixture.into()), ..Restored::default() },
            how: ImportHow::default(),
        };
        spawn_blocking(move || import::run(&args, Again::Import, false)).await.unwrap().unwrap();
        let copy = PrivateCopy::create().unwrap();
        let to = Destination::new(Some(&file), false, None, None);
        let (summary, provenance) = from_folder(&raft_dir, &copy, Extent::Moment, to, For::default()).await.unwrap();
        let Provenance { origin, consistency, .. } = provenance.unwrap();
        assert_eq!((origin.tail, origin.last_applied, consistency), (0, summary.last_applied, Consistency::Offline));
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(bare(&text), fs::read_to_string(fixture).unwrap());
        assert_eq!((summary.lines, summary.bytes), (text.lines().count() as u64, text.len() as u64));
        assert!(text.lines().last().unwrap().contains(r#""consistency":"offline""#), "{text}");
    }

    /// A sealed file without its seal.
    fn bare(text: &str) -> String {
        let (text, seal) = text.trim_end().rsplit_once('\n').unwrap();
        assert!(seal.starts_with(r#"["header",{"DataHeader":{"key":"seal","#), "{seal}");
        text.replacen(r#","sealed":true"#, "", 1) + "\n"
    }

    #[tokio::test]
    async fn a_folder_without_a_store_leaves_the_older_backup() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("b");
        fs::write(&file, "old").unwrap();
        let copy = PrivateCopy::create().unwrap();
        let to = Destination::new(Some(&file), false, None, None);
        let none = folder.path().join("none");
        assert!(from_folder(&none, &copy, Extent::Moment, to, For::default()).await.is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// Exports from `server` over an older backup; gives the result and what the file then holds.
    async fn export_over_old(server: FakeServer, consistency: HowConsistent) -> (Result<Backup, CtlError>, String) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("b");
        fs::write(&file, "old").unwrap();
        let args = ExportArgs {
            server: Server { grpc_api_address: server.start().await.to_string() },
            raft_dir: None,
            db: None,
            file: None,
            chunk_size: None,
            consistency,
            wanted: For::default(),
            seal: false,
            compress: None,
            with_history: false,
            logs: None,
            id: None,
        };
        let to = Destination::new(Some(&file), false, None, None);
        let result = from_server(&args, Duration::from_millis(500), to).await;
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
        let (result, file) = export_over_old(
            FakeServer::exporting(chunks(&[&[HEADER], &[r#"["raft_log",{"NodeId":1}]"#, &long]], None)),
            HowConsistent::Auto,
        )
        .await;
        assert_eq!(result.unwrap().0.lines, 4);
        assert_eq!(bare(&file), format!("{HEADER}\n[\"raft_log\",{{\"NodeId\":1}}]\n{long}\n"));
    }

    #[tokio::test]
    async fn an_older_server_is_asked_as_it_knows_it() {
        let mut server = FakeServer::exporting(Export::Unimplemented);
        server.export = chunks(&[&[HEADER, SEQUENCE]], None);
        let (result, file) = export_over_old(server, HowConsistent::Auto).await;
        assert_eq!(result.unwrap().0.lines, 3);
        assert_eq!(bare(&file), format!("{HEADER}\n{SEQUENCE}\n"));
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
            let (result, file) = export_over_old(FakeServer::exporting(export), HowConsistent::Auto).await;
            let error = chain(&result.unwrap_err());
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("127.0.0.1:"), "{error} does not say which server");
            assert_eq!(file, "old");
        }
    }

    #[tokio::test]
    async fn a_server_that_promises_nothing_is_taken_for_what_it_is() {
        use HowConsistent::{Auto, Linearizable, Local};
        let linearizable = pb::Provenance { consistency: 1, ..pb::Provenance::default() };
        let local = pb::Provenance { consistency: 0, fallback: "nobody leads".to_owned(), ..pb::Provenance::default() };
        let garbled = pb::Provenance { consistency: 2, ..pb::Provenance::default() };
        let unaware = "does not know --consistency";
        // (what the server says, whether it knows ExportV1, what is wanted, what it came to)
        for (provenance, known, wanted, expected) in [
            (Some(linearizable), true, Linearizable, Ok(Some(Consistency::Linearizable))),
            (Some(local.clone()), true, Auto, Ok(Some(Consistency::Local))),
            (Some(local), true, Linearizable, Err("sent one that is local")),
            (Some(garbled), true, Auto, Err("Provenance.consistency is 2")),
            (None, true, Auto, Ok(None)),
            (None, true, Local, Ok(None)),
            (None, true, Linearizable, Err(unaware)),
            (None, false, Auto, Ok(None)),
            (None, false, Linearizable, Err(unaware)),
        ] {
            let answer = chunks(&[&[HEADER], &[SEQUENCE]], None);
            let export_v1 = if known { answer.clone() } else { Export::Unimplemented };
            let server = FakeServer { export: answer, provenance, ..FakeServer::exporting(export_v1) };
            match (export_over_old(server, wanted).await, expected) {
                ((Ok((_, found)), file), Ok(consistency)) => {
                    assert_eq!(found.map(|found| found.consistency), consistency);
                    assert_eq!(bare(&file), format!("{HEADER}\n{SEQUENCE}\n"));
                    let sealed = consistency.map_or("unknown".to_owned(), |known| known.to_string());
                    assert!(file.contains(&format!(r#","consistency":"{sealed}","#)), "{file}");
                }
                ((Err(error), file), Err(words)) => {
                    let error = chain(&error);
                    assert!(error.contains(words) && error.contains("127.0.0.1:"), "{error}");
                    assert_eq!(file, "old");
                }
                ((found, _), expected) => panic!("{wanted:?}: {found:?} is not {expected:?}"),
            }
        }
    }
}

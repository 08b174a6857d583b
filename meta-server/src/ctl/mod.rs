//! databend-metactl, the operator's tool: a file per subcommand, and what they share.
//!
//! Results go to standard output, progress and notes to standard error. Exit code 0: done; 1: refused or failed, and
//! nothing changed unless the error says that the outcome is unknown; 2: usage. Of `diff`, 1 is an answer, and every error has 2.

mod admin;
mod argv;
mod bench;
mod checked;
mod client;
mod convert;
mod diff;
mod error;
mod escape;
mod export;
mod generations;
mod get;
pub mod import;
mod input;
mod inspect;
mod keys_layout;
mod member_list;
mod metrics;
mod older;
mod plan;
mod progress;
mod rollback;
mod room;
mod scratch;
mod signals;
mod sink;
mod status;
mod stopping;
mod trigger_snapshot;
mod upsert;
mod verify;
mod watch;
mod wrong_port;

#[cfg(test)]
mod testing;

use std::{
    env,
    io::{self, Write},
    num::NonZeroU64,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use tokio::runtime::{self, Runtime};

pub use error::CtlError;
use import::Again;

use crate::error_chain::chain;

/// How long threads may take to end, and to remove what they made, when a command has ended.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// Backs up and restores a databend-meta server, and asks it questions.
#[derive(Debug, Parser)]
#[command(name = "databend-metactl", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Copy, Args)]
struct Common {
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    /// How long a server may take to answer, or to send the next part
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10")]
    timeout: NonZeroU64,
}

impl Common {
    fn timeout(self) -> Duration {
        Duration::from_secs(self.timeout.get())
    }
}

/// Which server to ask.
#[derive(Debug, Args)]
struct Server {
    /// The gRPC address of a running server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9191")]
    grpc_api_address: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Inspect(inspect::InspectArgs),
    Verify(verify::VerifyArgs),
    Convert(convert::ConvertArgs),
    Diff(diff::DiffArgs),
    Generations(generations::GenerationsArgs),
    Rollback(rollback::RollbackArgs),
    Status(status::StatusArgs),
    Get(get::GetArgs),
    Upsert(upsert::UpsertArgs),
    Watch(watch::WatchArgs),
    MemberList(member_list::MemberListArgs),
    KeysLayout(keys_layout::KeysLayoutArgs),
    TriggerSnapshot(trigger_snapshot::TriggerSnapshotArgs),
    Metrics(metrics::MetricsArgs),
    Bench(bench::BenchArgs),
}

/// Runs the tool on the arguments of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(argv::with_subcommand(env::args_os()));
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            // Where standard error is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {}", chain(&error));
            error.exit_code()
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, CtlError> {
    let common = cli.common;
    match &cli.command {
        Command::Diff(args) => return diff::run(args, common),
        Command::Export(args) => export::run(args, common),
        Command::Import(args) => import::run(args, Again::Import, common.json),
        Command::Inspect(args) => inspect::run(args, common),
        Command::Verify(args) => verify::run(args, common),
        Command::Convert(args) => convert::run(args, common),
        Command::Generations(args) => generations::run(args, common),
        Command::Rollback(args) => rollback::run(args, common),
        Command::Status(args) => block_on(status::run(args, common)),
        Command::Get(args) => block_on(get::run(args, common)),
        Command::Upsert(args) => block_on(upsert::run(args, common)),
        Command::Watch(args) => block_on(watch::run(args, common)),
        Command::MemberList(args) => block_on(member_list::run(args, common)),
        Command::KeysLayout(args) => block_on(keys_layout::run(args, common)),
        Command::TriggerSnapshot(args) => block_on(trigger_snapshot::run(args, common)),
        Command::Metrics(args) => block_on(metrics::run(args, common)),
        Command::Bench(args) => block_on(bench::run(args, common)),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Runs a command that waits: for a server, or for a thread that reads.
fn block_on<T>(command: impl Future<Output = Result<T, CtlError>>) -> Result<T, CtlError> {
    let runtime = runtime()?;
    let result = runtime.block_on(command);
    // What a signal interrupted may be stuck in a pipe that nobody reads.
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

fn runtime() -> Result<Runtime, CtlError> {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(CtlError::Runtime)
}

/// Writes a result to standard output.
fn print(text: &str) -> Result<(), CtlError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()).map_err(CtlError::Stdout)
}

/// Writes the lines of a result to standard output, as they are.
fn print_lines(lines: impl IntoIterator<Item = String>) -> Result<(), CtlError> {
    let mut stdout = io::stdout().lock();
    let mut lines = lines.into_iter();
    lines.try_for_each(|line| writeln!(stdout, "{line}")).and_then(|()| stdout.flush()).map_err(CtlError::Stdout)
}

/// Writes a note to standard error; where that is gone, the work goes on.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// A result as one line of JSON.
fn json(result: &impl serde::Serialize) -> Result<String, CtlError> {
    serde_json::to_string(result).map_err(CtlError::Json)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = line.split_whitespace().map(|word| if word == "''" { "" } else { word });
        Cli::try_parse_from(argv::with_subcommand(std::iter::once("metactl").chain(words).map(Into::into)))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_operators_already_type_is_understood() {
        for line in [
            "export --grpc-api-address 127.0.0.1:9191 --db b --chunk-size 100",
            "export b",
            "export --db ''",
            "export --raft-dir d --db b --id 1",
            "export --consistency linearizable b",
            "--export --consistency local",
            "--export --grpc-api-address 127.0.0.1:9191 --db b",
            "--grpc-api-address 127.0.0.1:9191 --export",
            "--export --raft-dir d",
            "import --raft-dir d --db b",
            "import --raft-dir d b",
            "import --raft-dir d --id 1 --initial-cluster 1=a:1 --initial-cluster 2=b:1,learner --db b",
            "import --raft-dir d --id 1 --initial-cluster 1=a:1 2=[::1]:1 3=c:1,c:2 --db b",
            "--import --raft-dir d --db b --id 1 --initial-cluster 1=a:1",
            "export --data-version V002 --drop-applied-log b",
            "convert --db a --out b",
            "convert --db a --out b --data-version V003 --drop-retired --id 1",
            "diff a b",
            "diff - b --keys --json --depth 3 --strict-seq --expired",
            "import --raft-dir d --keep-old b",
            "import --raft-dir d --plan b",
            "import --raft-dir d --to-index 7 b",
            "verify b",
            "verify --db b --json",
            "verify",
            "verify --require-seal --drop-retired --to-index 7 b --id 1",
            "verify b --drill --id 1 --initial-cluster 1=a:1 2=b:1 --to-time 2026-11-22T12:08:45Z --bump-seq 9 --min-term 3",
            "import --raft-dir d --to-time 2026-11-22T12:08:45Z b --id 1 --initial-cluster 1=a:1 --bump-seq 9 --min-term 3",
            "export --with-history b",
            "export --logs none b",
            "export --logs all --raft-dir d b",
            "inspect b",
            "inspect --db b --depth 2 --top 20 --json",
            "inspect",
            "generations --raft-dir d --json",
            "generations --raft-dir d --prune",
            "generations --raft-dir d --prune gen-000001 gen-000002",
            "rollback --raft-dir d --to gen-000001",
            "--json status --timeout 3",
            "get --key a",
            "upsert --key a --value ''",
            "upsert --key a --value=--export",
            "watch --prefix a/",
            "watch --prefix ''",
            "member-list --grpc-api-address 127.0.0.1:9191",
            "keys-layout --depth 1",
            "trigger-snapshot --admin-api-address 127.0.0.1:28002",
            "metrics --admin-api-address 127.0.0.1:28002",
            "bench --mode mixed --ttl 60 --value-bytes 0 --clients 64 --seconds 60 --keys 7 --prefix '' --keep",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for (line, kind) in [
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("exprt", ErrorKind::InvalidSubcommand),
            ("export b --db c", ErrorKind::ArgumentConflict),
            ("export --raft-dir d --consistency auto b", ErrorKind::ArgumentConflict),
            ("export --consistency strong", ErrorKind::InvalidValue),
            ("export --chunk-size -1", ErrorKind::UnknownArgument),
            ("--export --import", ErrorKind::UnknownArgument),
            ("import b", ErrorKind::MissingRequiredArgument),
            ("export --data-version V001 b", ErrorKind::InvalidValue),
            ("export --drop-applied-log b", ErrorKind::MissingRequiredArgument),
            ("import --raft-dir d --to-index 7 --to-time 2026-11-22T12:08:45Z b", ErrorKind::ArgumentConflict),
            ("import --raft-dir d --to-time yesterday b", ErrorKind::ValueValidation),
            ("export --with-history --logs all b", ErrorKind::ArgumentConflict),
            ("import --raft-dir d --initial-cluster 1=a", ErrorKind::ValueValidation),
            ("verify --raft-dir d b", ErrorKind::UnknownArgument),
            ("verify --keep-old b", ErrorKind::UnknownArgument),
            ("verify b --db c", ErrorKind::ArgumentConflict),
            ("verify --to-index 7 --to-time 2026-11-22T12:08:45Z b", ErrorKind::ArgumentConflict),
            ("import --raft-dir d --initial-cluster 1=a:1,voter", ErrorKind::ValueValidation),
            ("inspect b --db c", ErrorKind::ArgumentConflict),
            ("inspect --depth -1 b", ErrorKind::UnknownArgument),
            ("inspect --top 1001 b", ErrorKind::ValueValidation),
            ("bench --clients 0", ErrorKind::ValueValidation),
            ("bench --mode scan", ErrorKind::InvalidValue),
            ("status --timeout 0", ErrorKind::ValueValidation),
            ("get", ErrorKind::MissingRequiredArgument),
            ("diff a", ErrorKind::MissingRequiredArgument),
            ("diff a b c", ErrorKind::UnknownArgument),
            ("diff a b --depth -1", ErrorKind::UnknownArgument),
            ("watch", ErrorKind::MissingRequiredArgument),
            ("keys-layout --depth -1", ErrorKind::UnknownArgument),
            ("lua --file f", ErrorKind::InvalidSubcommand),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}

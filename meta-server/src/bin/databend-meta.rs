//! The server: parses, starts logging and the server, waits for a signal or for a fault, stops. With `--import` it
//! seeds its store instead, and does not serve in the same run.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow};
use backup_plugin::cluster::Member;
use clap::{CommandFactory, FromArgMatches, Parser};
use meta_server::{
    config::{Config, Leave, LoadedConfig, RaftConfig, Settings},
    ctl::{
        CtlError,
        import::{self, Again, ImportArgs, ImportHow, Restored, Rules},
    },
    error_chain::chain,
    logging,
    node::{
        Left,
        leave::{self, Leaver},
    },
    server::Server,
};
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{SignalKind, signal},
};

/// Small things come and go by the dozen with each request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A small Raft metadata server.
#[derive(Parser)]
#[command(name = "databend-meta", version)]
struct Cli {
    /// A TOML file with the same settings as these flags; a flag wins over the file
    #[arg(short, long, value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// Seed the store in --raft-dir from a backup, and exit; what it holds is replaced when all of the backup has been
    /// checked
    #[arg(long)]
    import: bool,
    /// The backup file to import; without one, or when it is "", standard input
    #[arg(long, value_name = "FILE", requires = "import")]
    db: Option<OsString>,
    /// The members of the new cluster to import as: ID=HOST:PORT for a voter, with `,learner` behind it for a learner
    #[arg(long, value_name = "MEMBER", num_args = 1.., requires = "import")]
    initial_cluster: Vec<Member>,
    /// Import even what the store was imported from already: what was written since is lost
    #[arg(long, requires = "import")]
    force: bool,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    how: ImportHow,

    #[command(flatten)]
    settings: Settings,
}

/// A thread for what blocks ends when it has had nothing to do for so long. They take turns: a moment in which much waited for a
/// slow disk would leave as many threads as it took, each with memory of its own, for as long as there is any work for them.
const IDLE_THREADS: Duration = Duration::from_millis(20);

/// What is left to do after the server has stopped may take no longer than this.
const LAST_TASKS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    meta_server::process::prepare();
    let matches = command().get_matches();
    report(Cli::from_arg_matches(&matches).map_err(|error| error.exit()).and_then(run))
}

/// What says how to import means nothing without an import.
fn command() -> clap::Command {
    ["ImportHow", "Rules"]
        .into_iter()
        .fold(Cli::command(), |command, group| command.mut_group(group, |group| group.requires("import")))
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    tell(&mut io::stderr(), &format!("error: {}", chain(error.as_ref())));
    error.downcast_ref::<CtlError>().map_or(ExitCode::FAILURE, CtlError::exit_code)
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let LoadedConfig { config, warnings } = Config::load(cli.config_file.as_deref(), cli.settings)?;
    let _guard = logging::init(&config.log)?;
    for warning in warnings {
        tracing::warn!("{warning}");
        if config.log.stderr.is_none() {
            tell(&mut io::stderr(), &format!("warning: {warning}"));
        }
    }
    if cli.import {
        let RaftConfig { raft_dir, id, .. } = config.raft;
        let restored = Restored { db: cli.db, file: None, id, initial_cluster: cli.initial_cluster, rules: cli.rules };
        let args = ImportArgs { raft_dir, restored, how: cli.how };
        // A unit file that still says --import must not wipe, at every restart, what was written since.
        let again = if cli.force { Again::Import } else { Again::LeaveAlone };
        return Ok(import::run(&args, again, false)?);
    }
    if let Some(leave) = &config.raft.leave {
        return remove_member(leave, &config.raft);
    }
    let runtime = threads().context("cannot start the threads of the server")?;
    let result = runtime.block_on(serve(config));
    // A client that does not read must not keep the process alive.
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

/// What the server runs on.
fn threads() -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread().enable_all().thread_keep_alive(IDLE_THREADS).build()
}

/// Has a member removed instead of serving.
fn remove_member(leave: &Leave, config: &RaftConfig) -> anyhow::Result<()> {
    let leaver = match leave.id {
        Some(id) => Leaver { id, cluster_id: config.cluster_id.clone() },
        None => leave::stored(&config.raft_dir)?,
    };
    let id = leaver.id;
    let runtime = Runtime::new().context("cannot start the threads of the program")?;
    let told = match runtime.block_on(leave::leave(&leave.via, &leaver, config.wait_leader_timeout))? {
        Left::Removed => format!("removed node {id} from the cluster"),
        Left::Unknown => format!("node {id} is not a member of the cluster: there is nothing to do"),
    };
    tell(&mut io::stdout(), &told);
    Ok(())
}

/// Writes a line. Where the other end is gone there is nobody left to tell, and the server serves on.
fn tell(to: &mut impl Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

/// Serves until a signal comes, or until the node fails.
async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;

    let server = tokio::select! {
        started = Server::start(config) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let mut stdout = io::stdout();
    tell(&mut stdout, &format!("gRPC API: {}", server.grpc_address()));
    tell(&mut stdout, &format!("Raft API: {}", server.raft_address()));
    tell(&mut stdout, &format!("admin API: {}", server.admin_address()));
    tracing::info!(grpc = %server.grpc_address(), admin = %server.admin_address(), "serving");

    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failure = server.node().failed() => Some(anyhow!("the node failed and has stopped: {failure}")),
        error = server.node().join_failed() => Some(anyhow::Error::new(error)),
        fork = server.node().forked() => Some(anyhow::Error::new(fork)),
    };
    match failure {
        None => {
            tracing::info!("stopping on a signal");
            server.shutdown().await;
            Ok(())
        }
        Some(failure) => {
            tracing::error!(error = chain(failure.as_ref()), "stopping");
            server.shutdown().await;
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn how_to_import_means_nothing_without_an_import() {
        let parse = |line: &str| command().try_get_matches_from(line.split(' ')).map(|_| ()).map_err(|err| err.kind());
        assert_eq!(parse("databend-meta --import --keep-old --db b"), Ok(()));
        assert_eq!(parse("databend-meta --single"), Ok(()));
        for line in ["databend-meta --keep-old", "databend-meta --require-seal"] {
            assert_eq!(parse(line), Err(clap::error::ErrorKind::MissingRequiredArgument), "{line}");
        }
    }
}

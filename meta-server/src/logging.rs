//! Starts logging: to files in a folder, a new one each day, and to standard error. Whatever is configured, an error
//! always reaches standard error, as one plain line.

use std::{fs, io, path::PathBuf};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_appender::{
    non_blocking::WorkerGuard,
    rolling::{RollingFileAppender, Rotation},
};
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt};

use crate::config::{LogConfig, LogFormat, LogOutput};

/// Why logging can not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("cannot create the log folder {} (log_dir)", dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    #[error("cannot open a log file in {} (log_dir)", dir.display())]
    File { dir: PathBuf, source: tracing_appender::rolling::InitError },
    #[error("this process logs already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps logging alive: what was logged is on its way to the files once this is dropped.
#[derive(Debug)]
#[must_use = "logging to files ends when this is dropped"]
pub struct LoggingGuard(#[expect(dead_code, reason = "held for its drop")] Option<WorkerGuard>);

/// Starts logging for the whole process, as configured. Once only.
pub fn init(config: &LogConfig) -> Result<LoggingGuard, LoggingError> {
    let (file, guard) = match &config.file {
        None => (None, None),
        Some((dir, output)) => {
            let (writer, guard) = tracing_appender::non_blocking(open(dir)?);
            (Some(layer(output, writer).with_filter(output.filter())), Some(guard))
        }
    };
    let stderr = match &config.stderr {
        Some(output) => layer(output, io::stderr).with_filter(output.filter()).boxed(),
        None => tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(io::stderr)
            .with_filter(LevelFilter::ERROR)
            .boxed(),
    };
    tracing_subscriber::registry().with(file).with(stderr).try_init()?;
    Ok(LoggingGuard(guard))
}

fn open(dir: &PathBuf) -> Result<RollingFileAppender, LoggingError> {
    fs::create_dir_all(dir).map_err(|source| LoggingError::Folder { dir: dir.clone(), source })?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("databend-meta")
        .filename_suffix("log")
        .build(dir)
        .map_err(|source| LoggingError::File { dir: dir.clone(), source })
}

fn layer<S, W>(output: &LogOutput, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    match output.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

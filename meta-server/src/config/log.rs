//! What is logged, where and how.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::{ConfigError, LogSettings};

/// Valid logging settings; `None` for an output that is off.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Where files go unless `[log.file]` says otherwise.
    pub dir: PathBuf,
    /// What is logged unless an output says otherwise.
    pub level: String,
    /// The output, and the folder that its files go to.
    pub file: Option<(PathBuf, LogOutput)>,
    pub stderr: Option<LogOutput>,
}

/// What a level alone does not let through. These libraries tell every step at INFO, and openraft warns once a second, for as long
/// as it takes, of a member that is down; who is down is said in a line of our own.
const QUIET: &str = "openraft=error,lsm_tree=warn,h2=warn,hyper=warn,tower=warn";

/// How one output is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOutput {
    /// As it was given.
    level: String,
    /// Directives such as `INFO,openraft=warn`.
    filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogConfig {
    pub(super) fn new(dir: Option<PathBuf>, level: Option<String>, settings: LogSettings) -> Result<Self, ConfigError> {
        let dir = dir.unwrap_or_else(|| "./.databend/logs".into());
        let level = level.unwrap_or_else(|| "INFO".into());
        filter("log_level", level.clone())?;
        let LogSettings { file, stderr } = settings;

        let output = |key, own: Option<String>, format| {
            let level = own.unwrap_or_else(|| level.clone());
            Ok::<_, ConfigError>(LogOutput { filter: filter(key, level.clone())?, level, format })
        };
        let file_format = format("log.file.format", file.format.as_deref())?;
        let file_output = output("log.file.level", file.level, file_format)?;
        let stderr_format = format("log.stderr.format", stderr.format.as_deref())?;
        let stderr_output = output("log.stderr.level", stderr.level, stderr_format)?;
        Ok(Self {
            file: file.on.unwrap_or(true).then(|| (file.dir.unwrap_or_else(|| dir.clone()), file_output)),
            stderr: stderr.on.unwrap_or(false).then_some(stderr_output),
            dir,
            level,
        })
    }
}

impl LogOutput {
    /// What passes, as it was given.
    pub fn level(&self) -> &str {
        &self.level
    }

    /// What passes. It was checked when the output was configured, so nothing is lost in the conversion.
    pub fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.filter)
    }
}

fn filter(key: &'static str, text: String) -> Result<String, ConfigError> {
    match EnvFilter::builder().parse(&text) {
        Ok(_) if ["INFO", "WARN"].iter().any(|level| text.eq_ignore_ascii_case(level)) => Ok(format!("{text},{QUIET}")),
        Ok(_) => Ok(text),
        Err(error) => Err(ConfigError::invalid(key, &text, error.to_string())),
    }
}

fn format(key: &'static str, text: Option<&str>) -> Result<LogFormat, ConfigError> {
    match text {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => Err(ConfigError::invalid(key, other, "expected `text` or `json`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_keeps_libraries_quiet_and_directives_are_taken_as_they_are() {
        for (text, expected) in [
            ("INFO", format!("INFO,{QUIET}")),
            ("warn", format!("warn,{QUIET}")),
            ("DEBUG", "DEBUG".to_owned()),
            ("INFO,openraft=info", "INFO,openraft=info".to_owned()),
            ("openraft=debug", "openraft=debug".to_owned()),
        ] {
            assert_eq!(filter("log_level", text.to_owned()).unwrap(), expected);
        }
        assert!(EnvFilter::builder().parse(format!("INFO,{QUIET}")).is_ok());
    }
}

//! What can be wrong with a configuration.

use std::{io, path::PathBuf};

use super::file::read_failure;

/// Why there is no valid configuration. The operator can mend every one of these.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {}", path.display(), read_failure(source))]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot understand the configuration file {}", path.display())]
    Parse { path: PathBuf, source: Box<toml::de::Error> },

    /// `key` as in the file, with its table.
    #[error("{key} = {value}: {reason}")]
    Invalid { key: &'static str, value: String, reason: String },

    #[error("{0}")]
    Contradiction(String),
}

impl ConfigError {
    pub(super) fn invalid(key: &'static str, value: &(impl ToString + ?Sized), reason: impl Into<String>) -> Self {
        Self::Invalid { key, value: value.to_string(), reason: reason.into() }
    }
}

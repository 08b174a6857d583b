//! Reads a TOML configuration file into [`Settings`], and collects the keys that mean nothing here, so that they can be
//! told once logging has started.

use std::{fs, io, path::Path};

use super::{ConfigError, Settings};

/// A configuration file, read.
#[derive(Debug, Default)]
pub struct FileSettings {
    pub settings: Settings,
    /// Keys with no meaning here, as `table.key`. Databend's files have some; they are no error.
    pub unknown_keys: Vec<String>,
}

impl FileSettings {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text).map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut unknown_keys = Vec::new();
        let document = toml::Deserializer::parse(text)?;
        let settings = serde_ignored::deserialize(document, |path| unknown_keys.push(path.to_string()))?;
        Ok(Self { settings, unknown_keys })
    }
}

/// A file that is not there is the operator's likeliest mistake: worth a reason that reads well.
pub(super) fn read_failure(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "there is no such file",
        io::ErrorKind::PermissionDenied => "it may not be read by this user",
        io::ErrorKind::InvalidData => "it is not UTF-8 text",
        _ => "reading failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_databend_file_is_read_and_its_other_keys_are_named() {
        let file = FileSettings::parse(
            r#"
            log_dir = "./logs"
            admin_api_address = "0.0.0.0:28101"
            metrics_push = true

            [raft_config]
            id = 1
            single = true
            join = ["db-2:28004"]
            no_sync = true

            [log.file]
            level = "WARN"
            limit = 48

            [log.otlp]
            on = false
            "#,
        )
        .unwrap();
        assert_eq!(file.settings.raft_config.id, Some(1));
        assert_eq!(file.settings.raft_config.single, Some(true));
        assert_eq!(file.settings.log.file.level.as_deref(), Some("WARN"));
        assert_eq!(file.unknown_keys, ["log.file.limit", "log.otlp", "metrics_push", "raft_config.no_sync"]);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_by_line() {
        let error = FileSettings::parse("[raft_config]\nid = \"one\"\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}

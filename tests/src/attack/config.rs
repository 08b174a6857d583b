//! A configuration file.

use meta_server::config::{Config, FileSettings};

pub(super) fn attack(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(file) = FileSettings::parse(text) else { return };
    if let Err(error) = Config::new(file.settings) {
        assert!(!error.to_string().is_empty());
    }
}

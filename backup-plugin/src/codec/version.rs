//! The versions of the format, by name.

use std::{fmt, str::FromStr};

/// A version of the format. A later one is larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Has no header line.
    V0,
    V001,
    V002,
    V003,
    /// The version of the record model.
    #[default]
    V004,
}

impl Version {
    pub const ALL: [Version; 5] = [Version::V0, Version::V001, Version::V002, Version::V003, Version::V004];

    /// As a header names it.
    pub fn name(self) -> &'static str {
        match self {
            Version::V0 => "V0",
            Version::V001 => "V001",
            Version::V002 => "V002",
            Version::V003 => "V003",
            Version::V004 => "V004",
        }
    }

    /// Whether a log may begin above index 0 with nothing that says what came before.
    pub fn lacks_purged(self) -> bool {
        self < Version::V002
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not that of a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {0} is not supported: V0, V001, V002, V003 and V004 are read")]
pub struct UnknownVersion(pub String);

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Version::ALL.into_iter().find(|version| version.name() == name).ok_or_else(|| UnknownVersion(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_by_their_exact_names() {
        for version in Version::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for name in ["", "V", "v004", "V4", "V004 ", "V005", "V100"] {
            let error = name.parse::<Version>().unwrap_err().to_string();
            assert_eq!(error, format!("version {name} is not supported: V0, V001, V002, V003 and V004 are read"));
        }
    }
}

//! What an operator means by a side: standard input, a file, a folder, or a server. Looks at names alone, and opens
//! nothing.

use std::{ffi::OsStr, fs, io::ErrorKind, path::PathBuf};

use backup_plugin::record::Endpoint;

use super::DiffError;
use crate::ctl::CtlError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Side {
    Stdin,
    File(PathBuf),
    Folder(PathBuf),
    /// The address as it was given.
    Server(String),
}

impl Side {
    /// What is there under that name, and only where nothing is, an address.
    pub(super) fn of(given: &OsStr) -> Result<Side, CtlError> {
        if given == "-" {
            return Ok(Side::Stdin);
        }
        let path = PathBuf::from(given);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(Side::Folder(path)),
            Ok(_) => Ok(Side::File(path)),
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
                let given = given.to_string_lossy().into_owned();
                match given.parse::<Endpoint>() {
                    Ok(_) => Ok(Side::Server(given)),
                    Err(source) => Err(DiffError::NoSide { given, source }.into()),
                }
            }
            Err(source) => Err(CtlError::OpenInput { path, source }),
        }
    }

    /// Refuses two sides that can not be read at the same time.
    pub(super) fn check(a: &Side, b: &Side) -> Result<(), DiffError> {
        match (a, b) {
            (Side::Stdin, Side::Stdin) => Err(DiffError::BothStdin),
            (Side::Folder(a), Side::Folder(b)) => match (a.canonicalize(), b.canonicalize()) {
                (Ok(real_a), Ok(real_b)) if real_a == real_b => Err(DiffError::SameFolder(a.clone())),
                // What is wrong with them is told of where they are opened.
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_chain::chain;

    #[test]
    fn what_is_there_wins_and_the_rest_is_an_address() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("db-1:9191");
        fs::write(&file, "").unwrap();
        for (given, expected) in [
            (OsStr::new("-"), Side::Stdin),
            (file.as_os_str(), Side::File(file.clone())),
            (temp.path().as_os_str(), Side::Folder(temp.path().to_owned())),
            (OsStr::new("db-1:9191"), Side::Server("db-1:9191".to_owned())),
            (OsStr::new("[::1]:9191"), Side::Server("[::1]:9191".to_owned())),
        ] {
            assert_eq!(Side::of(given).unwrap(), expected);
        }
    }

    #[test]
    fn a_name_that_nothing_has_and_that_is_no_address_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let below = file.join("b:1").display().to_string();
        for (given, cause) in [
            ("backup.ndjson", "the port is missing"),
            ("", "the port is missing"),
            ("./db-1:9191", "`./db-1` is not a host name"),
            (below.as_str(), "is not a host name"),
        ] {
            let error = chain(&Side::of(OsStr::new(given)).unwrap_err());
            let expected =
                format!("there is no file and no folder {given:?}, and it is no gRPC address <host>:<port> either: ");
            assert!(error.starts_with(&expected) && error.contains(cause), "{error}");
        }
    }

    #[test]
    fn one_stream_and_one_lock_are_not_shared() {
        let temp = tempfile::tempdir().unwrap();
        let folder = |path: PathBuf| Side::Folder(path);
        let same = Side::check(&folder(temp.path().to_owned()), &folder(temp.path().join(".")));
        assert!(matches!(same, Err(DiffError::SameFolder(_))));
        assert!(matches!(Side::check(&Side::Stdin, &Side::Stdin), Err(DiffError::BothStdin)));
        let file = Side::File(temp.path().join("b"));
        for (a, b) in [(&file, &file), (&Side::Stdin, &file), (&file, &folder(temp.path().to_owned()))] {
            Side::check(a, b).unwrap();
        }
    }
}

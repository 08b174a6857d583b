//! A backup that a command reads: a file, or standard input. Knows nothing of what is in it.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};

use super::CtlError;

/// A backup, opened.
pub(super) struct Input {
    /// What errors call it.
    pub(super) name: String,
    pub(super) reader: Box<dyn Read + Send>,
    /// Its length, where it is known before it is read.
    pub(super) bytes: Option<u64>,
}

impl Input {
    /// `None`: standard input.
    pub(super) fn open(path: Option<&Path>) -> Result<Input, CtlError> {
        let Some(path) = path else {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                return Err(CtlError::InputIsTerminal);
            }
            return Ok(Input { name: "standard input".to_owned(), reader: Box::new(stdin), bytes: None });
        };
        let unreadable = |source| CtlError::OpenInput { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if found.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        let bytes = found.is_file().then_some(found.len());
        Ok(Input { name: path.display().to_string(), reader: Box::new(file), bytes })
    }

    /// Whether it can be read more than once.
    pub(super) fn is_file(&self) -> bool {
        self.bytes.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_is_no_file_is_refused_before_anything_is_touched() {
        let folder = tempfile::TempDir::new().unwrap();
        for (path, cause) in [("none", "No such file"), ("", "is a directory")] {
            let error = Input::open(Some(&folder.path().join(path))).err().unwrap();
            let text = crate::error_chain::chain(&error);
            assert!(text.starts_with("cannot read the backup ") && text.contains(cause), "{text}");
        }
    }
}

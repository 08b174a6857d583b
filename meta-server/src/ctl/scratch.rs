//! Work that fills a folder of its own in TMPDIR, and that a signal may end: either way the folder is gone afterwards.
//! Knows nothing of what the work is.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use backup_plugin::{import::ImportError, target::RestoreError};

use super::{
    CtlError, plan,
    stopping::{Stoppable, Stopping, until_interrupted},
};
use crate::{backup::offline::PrivateCopy, store::StoreError};

/// The folder, for as long as the work runs.
pub(super) struct Scratch {
    path: PathBuf,
    stopping: Stopping,
}

/// Does `work`, which may block, in a folder that is removed when it has ended, or when a signal has ended it.
pub(super) fn in_scratch<T: Send + 'static>(
    work: impl FnOnce(&Scratch) -> Result<T, CtlError> + Send + 'static,
) -> Result<T, CtlError> {
    until_interrupted(move |stopping| {
        let folder = PrivateCopy::create()?;
        work(&Scratch { path: folder.path().to_owned(), stopping: stopping.clone() })
    })
}

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same input, which ends with an error once the work is to stop.
    pub(super) fn reader<R: Read>(&self, input: R) -> Stoppable<R> {
        self.stopping.reader(input)
    }

    /// Says of what the disk did that it is no answer.
    pub(super) fn failed(&self, input: &str, error: CtlError) -> CtlError {
        match error {
            CtlError::Import(ImportError::Target(RestoreError::Io { .. }))
            | CtlError::Store(StoreError::Io { .. })
            | CtlError::ReadStore { .. } => {
                let (input, folder) = (input.to_owned(), self.parent().to_owned());
                CtlError::NotTried { input, folder, source: Box::new(error) }
            }
            answer => answer,
        }
    }

    /// What TMPDIR names.
    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Refuses to begin what needs more room than there is.
    pub(super) fn check_room(&self, input: &str, needed: u64) -> Result<(), CtlError> {
        let folder = self.parent();
        let free = plan::free_bytes(folder).map_err(StoreError::io("ask for the free space of", folder))?;
        if needed > free {
            let (input, folder) = (input.to_owned(), folder.to_owned());
            return Err(CtlError::NoRoomToTry { input, needed, free, folder });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io, sync::mpsc};

    use super::*;
    use crate::error_chain::chain;

    #[test]
    fn the_folder_is_there_for_the_work_alone() {
        for fails in [false, true] {
            let (tell, told) = mpsc::channel();
            let result = in_scratch(move |scratch| {
                fs::write(scratch.path().join("file"), "x").unwrap();
                tell.send(scratch.path().to_owned()).unwrap();
                if fails { Err(CtlError::Interrupted) } else { Ok(7) }
            });
            assert_eq!(result.ok(), (!fails).then_some(7));
            assert!(!told.recv().unwrap().exists());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_what_it_takes_and_what_there_is() {
        let scratch = Scratch { path: std::env::temp_dir().join("any"), stopping: Stopping::default() };
        assert!(scratch.check_room("b", 1).is_ok());
        let Err(error) = scratch.check_room("b.ndjson", u64::MAX) else { panic!("there is room for everything") };
        let text = error.to_string();
        let takes = format!("to try b.ndjson takes about {} bytes in {}, ", u64::MAX, std::env::temp_dir().display());
        assert!(text.starts_with(&takes) && text.contains("set TMPDIR"), "{text}");
    }

    #[test]
    fn what_the_disk_did_is_no_answer() {
        let scratch = Scratch { path: std::env::temp_dir().join("any"), stopping: Stopping::default() };
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let tried = "cannot build the state in it".to_owned();
        for error in [
            ImportError::Target(RestoreError::Io { tried, source: full() }).into(),
            StoreError::io("copy", Path::new("it"))(full()).into(),
            CtlError::ReadStore { path: "it".into(), source: full() },
        ] {
            let cause = chain(&error);
            let said = chain(&scratch.failed("b.ndjson", error));
            let folder = std::env::temp_dir();
            let expected = format!(
                "cannot tell whether b.ndjson could be imported: it could not be tried in {}, which TMPDIR names: {cause}",
                folder.display()
            );
            assert_eq!(said, expected);
        }
        let refused = ImportError::Target(RestoreError::Folder("no".to_owned())).into();
        assert_eq!(chain(&scratch.failed("b.ndjson", refused)), "no");
    }
}

//! A value with the line it came from, and a record that may come only once.

use super::Refusal;

/// Something that a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) line: u64,
    pub(super) value: T,
}

/// A record that may come once, in any line.
#[derive(Debug)]
pub(super) struct Once<T>(Option<At<T>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once(None)
    }
}

impl<T> Once<T> {
    pub(super) fn set(&mut self, kind: &'static str, line: u64, value: T) -> Result<(), Refusal> {
        match &self.0 {
            Some(first) => Err(Refusal::Twice { kind, first: first.line }),
            None => {
                self.0 = Some(At { line, value });
                Ok(())
            }
        }
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|at| &at.value)
    }

    /// The line it came from.
    pub(super) fn line(&self) -> Option<u64> {
        self.0.as_ref().map(|at| at.line)
    }
}

impl<T: Copy> Once<Option<T>> {
    /// What the record says, if there is one and it is not null.
    pub(super) fn known(&self) -> Option<T> {
        self.get().copied().flatten()
    }
}

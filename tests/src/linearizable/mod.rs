//! Whether a history of concurrent operations can be explained by operations that were done one at a time, each at some
//! instant between its request and its answer: linearizability, key by key, of registers with sequence numbers.
//!
//! Two steps: `facts` says what each operation proves about its key, and what is wrong on its face; `search`
//! looks for an order. What a refused or unknown write may do is in `facts`. An absent key is where each history
//! begins.

use std::{collections::BTreeMap, fmt};

use crate::history::Operation;

mod facts;
mod search;
#[cfg(test)]
mod tests;

/// Why no order explains the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub reason: String,
    /// The operations that show it.
    pub operations: Vec<Operation>,
}

impl Violation {
    fn new(reason: impl Into<String>, operations: &[&Operation]) -> Self {
        Violation { reason: reason.into(), operations: operations.iter().copied().cloned().collect() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.operations.iter().try_for_each(|operation| write!(f, "\n  {operation}"))
    }
}

/// Checks a history.
///
/// # Panics
///
/// When a history has so many concurrent removals of unknown outcome that a search takes too long to be of use.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    let seen = facts::Seen::new(history)?;
    seen.check_order_of_seqs(history)?;
    let mut keys = BTreeMap::<&str, Vec<&Operation>>::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    keys.values().try_for_each(|operations| search::find_order(&seen.facts(operations)?))
}

/// Checks a history.
///
/// # Panics
///
/// When no order explains it, with what shows it.
#[track_caller]
pub fn assert_linearizable(history: &[Operation]) {
    if let Err(violation) = check(history) {
        panic!("the history of {} operations is not linearizable: {violation}", history.len());
    }
}

//! One key on both sides, and what makes the two records differ.

use crate::record::SeqV;

/// What the two sides have under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub a: Option<SeqV>,
    pub b: Option<SeqV>,
}

/// How a key stands on the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Data, expiry and seq are.
    Same,
    /// Data and expiry are the same, the seq is another: it was written again.
    SeqOnly,
    /// Only B has it.
    Added,
    /// Only A has it.
    Removed,
    /// Data or expiry are others.
    Changed,
}

impl Kind {
    pub fn is_difference(self) -> bool {
        match self {
            Kind::Same | Kind::SeqOnly => false,
            Kind::Added | Kind::Removed | Kind::Changed => true,
        }
    }
}

impl Pair {
    /// `None`: neither side has it. With `strict_seq`, another seq makes it changed.
    pub fn kind(&self, strict_seq: bool) -> Option<Kind> {
        Some(match (&self.a, &self.b) {
            (None, None) => return None,
            (None, Some(_)) => Kind::Added,
            (Some(_), None) => Kind::Removed,
            (Some(_), Some(_)) if self.data_differs() || self.expiry_differs() => Kind::Changed,
            (Some(_), Some(_)) if !self.seq_differs() => Kind::Same,
            (Some(_), Some(_)) if strict_seq => Kind::Changed,
            (Some(_), Some(_)) => Kind::SeqOnly,
        })
    }

    /// Of a key that both sides have.
    pub fn data_differs(&self) -> bool {
        self.differs(|record| &record.data)
    }

    /// Of a key that both sides have; seconds and milliseconds are the same where they mean the same moment.
    pub fn expiry_differs(&self) -> bool {
        self.differs(SeqV::expiry_ms)
    }

    /// Of a key that both sides have.
    pub fn seq_differs(&self) -> bool {
        self.differs(|record| record.seq)
    }

    fn differs<'a, T: PartialEq>(&'a self, of: impl Fn(&'a SeqV) -> T) -> bool {
        match (&self.a, &self.b) {
            (Some(a), Some(b)) => of(a) != of(b),
            _ => false,
        }
    }
}

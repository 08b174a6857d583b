//! Conditions on records, and how transactions combine them: `BooleanExpression` for [`super::Transaction`], `Predicate` for
//! [`super::KvTransaction`].

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// What a condition compares a key's record with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// With the record's sequence number, 0 when it is absent.
    Seq(u64),
    /// With the record's bytes.
    Value(#[serde(with = "super::bytes")] Vec<u8>),
    /// With the number of records that have the key as their prefix.
    KeysWithPrefix(u64),
}

/// How to compare; what is stored stands on the left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    #[default]
    Eq,
    Gt,
    Ge,
    Lt,
    Le,
    Ne,
}

impl Comparison {
    /// The comparison with this number on the wire and in an export. An unknown number counts as `Eq`, as it does in Databend.
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => Comparison::Gt,
            2 => Comparison::Ge,
            3 => Comparison::Lt,
            4 => Comparison::Le,
            5 => Comparison::Ne,
            _ => Comparison::Eq,
        }
    }

    fn number(self) -> u8 {
        match self {
            Comparison::Eq => 0,
            Comparison::Gt => 1,
            Comparison::Ge => 2,
            Comparison::Lt => 3,
            Comparison::Le => 4,
            Comparison::Ne => 5,
        }
    }

    /// Whether two things in this order satisfy the comparison.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Eq => order.is_eq(),
            Comparison::Gt => order.is_gt(),
            Comparison::Ge => order.is_ge(),
            Comparison::Lt => order.is_lt(),
            Comparison::Le => order.is_le(),
            Comparison::Ne => order.is_ne(),
        }
    }
}

/// One condition of a [`super::Transaction`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub key: String,
    #[serde(with = "comparison_number")]
    pub expected: Comparison,
    /// Without a target the condition is false.
    pub target: Option<Target>,
}

mod comparison_number {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Comparison;

    pub(super) fn serialize<S: Serializer>(comparison: &Comparison, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(comparison.number())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Comparison, D::Error> {
        i64::deserialize(deserializer).map(Comparison::from_number)
    }
}

/// Conditions joined by one operator. With nothing to join it holds, whichever the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BooleanExpression {
    pub operator: Combine,
    pub sub_expressions: Vec<BooleanExpression>,
    pub conditions: Vec<Condition>,
}

/// How a [`BooleanExpression`] joins its parts; a number in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i64", into = "u8")]
pub enum Combine {
    #[default]
    And,
    Or,
}

/// The operator with this number on the wire and in an export. An unknown number counts as `And`, as it does in Databend.
impl From<i64> for Combine {
    fn from(number: i64) -> Self {
        if number == 1 { Combine::Or } else { Combine::And }
    }
}

impl From<Combine> for u8 {
    fn from(operator: Combine) -> u8 {
        match operator {
            Combine::And => 0,
            Combine::Or => 1,
        }
    }
}

/// What a branch of a [`super::KvTransaction`] waits for. An empty `And` and an empty `Or` hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Predicate {
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Leaf { key: String, target: Target, op: Comparison },
}

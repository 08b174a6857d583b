//! Whether conditions and predicates hold. What is stored stands on the left of a comparison; records that have expired count
//! until they are cleaned.

use std::io;

use super::{StateStore, reply::seq_of};
use crate::command::{BooleanExpression, Combine, Comparison, Condition, Predicate, Target};

/// Whether all conditions hold; none at all do.
pub(super) fn all_hold<S: StateStore>(store: &S, conditions: &[Condition]) -> io::Result<bool> {
    all(conditions, |condition| condition_holds(store, condition))
}

pub(super) fn expression_holds<S: StateStore>(store: &S, expression: &BooleanExpression) -> io::Result<bool> {
    let BooleanExpression { operator, sub_expressions, conditions } = expression;
    let sub_holds = |sub: &BooleanExpression| expression_holds(store, sub);
    let condition_holds = |condition: &Condition| condition_holds(store, condition);
    match operator {
        Combine::And => Ok(all(sub_expressions, sub_holds)? && all(conditions, condition_holds)?),
        Combine::Or if sub_expressions.is_empty() && conditions.is_empty() => Ok(true),
        Combine::Or => Ok(any(sub_expressions, sub_holds)? || any(conditions, condition_holds)?),
    }
}

pub(super) fn predicate_holds<S: StateStore>(store: &S, predicate: &Predicate) -> io::Result<bool> {
    let part_holds = |part: &Predicate| predicate_holds(store, part);
    match predicate {
        Predicate::And(parts) => all(parts, part_holds),
        Predicate::Or(parts) if parts.is_empty() => Ok(true),
        Predicate::Or(parts) => any(parts, part_holds),
        Predicate::Leaf { key, target, op } => compares(store, key, *op, target),
    }
}

fn condition_holds<S: StateStore>(store: &S, condition: &Condition) -> io::Result<bool> {
    match &condition.target {
        Some(target) => compares(store, &condition.key, condition.expected, target),
        None => Ok(false),
    }
}

fn compares<S: StateStore>(store: &S, key: &str, comparison: Comparison, target: &Target) -> io::Result<bool> {
    let order = match target {
        Target::Seq(seq) => seq_of(store.get(key)?.as_ref()).cmp(seq),
        Target::Value(value) => match store.get(key)? {
            Some(record) => record.data.cmp(value),
            // Whatever the comparison: nothing stored compares with nothing.
            None => return Ok(false),
        },
        Target::KeysWithPrefix(count) => store.count_prefix(key)?.cmp(count),
    };
    Ok(comparison.holds(order))
}

fn all<T>(items: &[T], mut holds: impl FnMut(&T) -> io::Result<bool>) -> io::Result<bool> {
    for item in items {
        if !holds(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any<T>(items: &[T], mut holds: impl FnMut(&T) -> io::Result<bool>) -> io::Result<bool> {
    for item in items {
        if holds(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

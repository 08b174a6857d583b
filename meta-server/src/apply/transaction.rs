//! Which part of a transaction runs. Its operations run in order, each seeing what the ones before it wrote.

use std::io;

use super::{
    ExecutedPath, KvTxnReply, OpResponse, StateStore, TxnReply,
    conditions::{all_hold, expression_holds, predicate_holds},
    writer::Writer,
};
use crate::command::{KvTransaction, Transaction, TxnOp};

impl<S: StateStore> Writer<'_, S> {
    pub(super) fn transaction(&mut self, txn: &Transaction) -> io::Result<TxnReply> {
        let (path, operations) = self.choose(txn)?;
        Ok(TxnReply { path, responses: self.run(operations)? })
    }

    /// The first conditional operation whose predicate holds; otherwise `then` or `else`, whichever the conditions say. With
    /// neither conditions nor a `then`, an `else` has nothing to be the other side of: it does not run.
    fn choose<'t>(&self, txn: &'t Transaction) -> io::Result<(ExecutedPath, &'t [TxnOp])> {
        for (position, branch) in txn.operations.iter().enumerate() {
            let holds = match &branch.predicate {
                Some(predicate) => expression_holds(self.store, predicate)?,
                None => true,
            };
            if holds {
                return Ok((ExecutedPath::Operation(position), &branch.operations));
            }
        }
        let Transaction { condition, if_then, else_then, .. } = txn;
        if condition.is_empty() && if_then.is_empty() {
            Ok((ExecutedPath::Nothing, &[]))
        } else if all_hold(self.store, condition)? {
            Ok((ExecutedPath::Then, if_then))
        } else if else_then.is_empty() {
            Ok((ExecutedPath::Nothing, &[]))
        } else {
            Ok((ExecutedPath::Else, else_then))
        }
    }

    fn run(&mut self, operations: &[TxnOp]) -> io::Result<Vec<OpResponse>> {
        operations.iter().map(|op| self.operation(&op.request)).collect()
    }

    pub(super) fn kv_transaction(&mut self, txn: &KvTransaction) -> io::Result<KvTxnReply> {
        for (position, branch) in (0..).zip(&txn.branches) {
            if predicate_holds(self.store, &branch.predicate)? {
                let responses = branch.operations.iter().map(|op| self.kv_operation(op)).collect::<io::Result<_>>()?;
                return Ok(KvTxnReply { executed_branch: Some(position), responses });
            }
        }
        Ok(KvTxnReply { executed_branch: None, responses: vec![] })
    }
}

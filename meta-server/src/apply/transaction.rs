//! Which part of a transaction runs. Its operations run in order, each seeing what the ones before it wrote; all of them run,
//! even if there is more to answer than a reply may carry (`None`).

use std::io;

use super::{
    ExecutedPath, KvTxnReply, OpResponse, StateStore, TxnReply,
    conditions::{all_hold, expression_holds, predicate_holds},
    responses::Responses,
    writer::Writer,
};
use crate::command::{KvTransaction, Transaction, TxnOp};

impl<S: StateStore> Writer<'_, S> {
    pub(super) fn transaction(&mut self, txn: &Transaction) -> io::Result<Option<TxnReply>> {
        let (path, operations) = self.choose(txn)?;
        let responses = self.run(operations, |writer, op| writer.operation(&op.request))?;
        Ok(responses.map(|responses| TxnReply { path, responses }))
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

    fn run<T>(
        &mut self,
        operations: &[T],
        run: impl Fn(&mut Self, &T) -> io::Result<OpResponse>,
    ) -> io::Result<Option<Vec<OpResponse>>> {
        let mut responses = Responses::default();
        for operation in operations {
            responses.push(run(self, operation)?);
        }
        Ok(responses.finish())
    }

    pub(super) fn kv_transaction(&mut self, txn: &KvTransaction) -> io::Result<Option<KvTxnReply>> {
        for (position, branch) in (0..).zip(&txn.branches) {
            if predicate_holds(self.store, &branch.predicate)? {
                let responses = self.run(&branch.operations, Self::kv_operation)?;
                return Ok(responses.map(|responses| KvTxnReply { executed_branch: Some(position), responses }));
            }
        }
        Ok(Some(KvTxnReply { executed_branch: None, responses: vec![] }))
    }
}

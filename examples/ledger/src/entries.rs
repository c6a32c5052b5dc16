use std::{collections::VecDeque, sync::Arc};

use rusqlite::params;

use crate::{
    Entry, Result,
    connections::{Connections, Lent},
};

/// Rows of a query, read page by page through their own connection.
///
/// SQLite's cursor borrows the statement, which borrows the connection; an iterator that is sent to
/// other threads cannot own all three. Pages by key cost as little, and a transaction around them
/// gives a snapshot of one moment.
pub(crate) struct Entries {
    source: Source,
    account: String,
    after: (i64, i64),
    page: VecDeque<Entry>,
}

enum Source {
    Unopened(Arc<Connections>),
    Open(Lent),
    Ended,
}

const PAGE: usize = 256;

impl Entries {
    pub(crate) fn new(connections: &Arc<Connections>, account: &str, after: i64) -> Self {
        Self {
            source: Source::Unopened(connections.clone()),
            account: account.to_owned(),
            // After both entries of a transfer from an account to itself.
            after: (after, i64::MAX),
            page: VecDeque::new(),
        }
    }

    /// Reads the next page; there are no more rows if it stays empty.
    fn read(&mut self) -> Result<()> {
        if let Source::Unopened(connections) = &self.source {
            let lent = connections.lend()?;
            let begun = lent.execute_batch("BEGIN DEFERRED");
            lent.named(begun.map_err(Into::into))?;
            let known = lent.balance(&self.account);
            self.source = Source::Open(lent);
            known?;
        }
        let Source::Open(lent) = &self.source else {
            return Ok(());
        };
        let page = (|| {
            let sql = "SELECT transfer, other, amount FROM entries WHERE account = ?1 \
                       AND (transfer, amount) > (?2, ?3) ORDER BY transfer, amount LIMIT ?4";
            let mut statement = lent.prepare_cached(sql)?;
            let (transfer, amount) = self.after;
            let rows =
                statement.query_map(params![self.account, transfer, amount, PAGE], |row| {
                    Ok(Entry {
                        transfer: row.get(0)?,
                        other: row.get(1)?,
                        amount: row.get(2)?,
                    })
                })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })();
        self.page = lent.named(page)?;
        if let Some(last) = self.page.back() {
            self.after = (last.transfer, last.amount);
        }
        Ok(())
    }

    /// Ends the transaction, and gives the connection back.
    fn close(&mut self) {
        if let Source::Open(lent) = std::mem::replace(&mut self.source, Source::Ended) {
            // If it fails, the connection is closed, which ends the transaction too.
            let _ = lent.execute_batch("ROLLBACK");
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.page.is_empty()
            && let Err(error) = self.read()
        {
            self.close();
            return Some(Err(error));
        }
        let entry = self.page.pop_front();
        if entry.is_none() {
            self.close();
        }
        entry.map(Ok)
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.close();
    }
}

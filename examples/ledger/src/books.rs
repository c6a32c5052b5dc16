use std::fmt;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::{Audit, Entry, Error, Result, connections::Lent};

/// The accounts, inside of a [`transaction`](crate::Ledger::transaction).
#[derive(Debug)]
pub struct Books<'a>(&'a Transaction<'a>);

impl<'a> Books<'a> {
    pub(crate) fn new(transaction: &'a Transaction<'a>) -> Self {
        Self(transaction)
    }

    /// See [`Ledger::open`](crate::Ledger::open).
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub fn open(&self, account: &str, credit: u32) -> Result<bool> {
        let sql = "INSERT OR IGNORE INTO accounts (name, balance, credit) VALUES (?1, 0, ?2)";
        let is_new = self
            .0
            .prepare_cached(sql)?
            .execute(params![account, credit])?
            > 0;
        let sql = "UPDATE accounts SET credit = ?2 WHERE name = ?1";
        self.0
            .prepare_cached(sql)?
            .execute(params![account, credit])?;
        Ok(is_new)
    }

    /// See [`Ledger::transfer`](crate::Ledger::transfer).
    ///
    /// # Errors
    ///
    /// If one of the accounts is not known, `from` has too little, the amount is 0, the accounts are
    /// the same, or the database fails.
    pub fn transfer(&self, from: &str, to: &str, amount: u32) -> Result<i64> {
        if amount == 0 {
            return Err(Error::pointless("its amount is 0"));
        }
        if from == to {
            return Err(Error::pointless("it is from an account to itself"));
        }
        let amount = i64::from(amount);
        let number = self.next_number()?;
        for (account, other, amount) in [(from, to, -amount), (to, from, amount)] {
            let sql = "UPDATE accounts SET balance = balance + ?2 WHERE name = ?1 \
                       RETURNING balance >= -credit";
            let enough = self
                .0
                .prepare_cached(sql)?
                .query_row(params![account, amount], |row| row.get(0))
                .optional()?;
            match enough {
                None => return Err(Error::unknown(account)),
                // Only the paying account can have too little.
                Some(false) if amount < 0 => return Err(Error::insufficient(account)),
                Some(_) => {}
            }
            let sql =
                "INSERT INTO entries (account, transfer, other, amount) VALUES (?1, ?2, ?3, ?4)";
            self.0
                .prepare_cached(sql)?
                .execute(params![account, number, other, amount])?;
        }
        Ok(number)
    }

    /// See [`Ledger::balance`](crate::Ledger::balance).
    ///
    /// # Errors
    ///
    /// If the account is not known, or the database fails.
    pub fn balance(&self, account: &str) -> Result<i64> {
        balance(self.0, account)
    }

    fn next_number(&self) -> Result<i64> {
        let sql = "UPDATE numbers SET last = last + 1 RETURNING last";
        Ok(self
            .0
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?)
    }
}

fn balance(db: &Connection, account: &str) -> Result<i64> {
    let mut statement = db.prepare_cached("SELECT balance FROM accounts WHERE name = ?1")?;
    let balance = statement.query_row(params![account], |row| row.get(0));
    balance.optional()?.ok_or_else(|| Error::unknown(account))
}

/// The read-only queries.
impl Lent {
    pub(crate) fn balance(&self, account: &str) -> Result<i64> {
        self.named(balance(self, account))
    }

    pub(crate) fn accounts(&self) -> Result<Vec<String>> {
        self.named((|| {
            let mut statement = self.prepare_cached("SELECT name FROM accounts ORDER BY name")?;
            let names = statement.query_map([], |row| row.get(0))?;
            Ok(names.collect::<rusqlite::Result<_>>()?)
        })())
    }

    /// In one statement, so all values are from one moment.
    pub(crate) fn audit(&self) -> Result<Audit> {
        const SQL: &str = "SELECT name, count(entries.transfer), \
             balance <> coalesce(sum(entries.amount), 0) \
             FROM accounts LEFT JOIN entries ON account = name GROUP BY name ORDER BY name";
        self.named((|| {
            let mut audit = Audit {
                accounts: 0,
                entries: 0,
                wrong: Vec::new(),
            };
            let mut statement = self.prepare_cached(SQL)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                audit.accounts += 1;
                audit.entries += row.get::<_, usize>(1)?;
                if row.get(2)? {
                    audit.wrong.push(row.get(0)?);
                }
            }
            Ok(audit)
        })())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transfer,
            other,
            amount,
        } = self;
        write!(f, "{transfer} {amount:+} {other}")
    }
}

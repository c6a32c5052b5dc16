//! Accounts in an SQLite file, written once and called from anywhere.
//!
//! SQLite blocks: it reads and writes files, and waits for other writers. So most bodies here
//! block, and are marked so. A method that waits for time, or for many calls at once, is an `async
//! fn`. A method that gives many values returns [`Items`]. The caller chooses how to use them:
//!
//! ```
//! use fourway_core::{Call, Runtime};
//! use ledger::{Error, Ledger};
//!
//! fn a_command_line<R: Runtime>(ledger: &Ledger<R>) -> Result<(), Error> {
//!     ledger.transfer("cash", "rent", 700).wait()?;
//!     for entry in ledger.entries("rent") {
//!         println!("{}", entry?.amount);
//!     }
//!     Ok(())
//! }
//!
//! async fn a_server<R: Runtime>(ledger: &Ledger<R>) -> Result<i64, Error> {
//!     ledger.transfer("cash", "rent", 700).await?;
//!     ledger.balance("rent").await
//! }
//! ```
//!
//! [`blocking`] and [`asynchronous`] have the methods with ordinary signatures.

#![forbid(unsafe_code)]

mod books;
mod connections;
mod entries;
mod error;

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use fourway_core::{AnyRuntime, Runtime};
use fourway_macros::calls;
use fourway_streams::{Items, generate};

pub use books::Books;
use connections::Connections;
use entries::Entries;
pub use error::Error;

type Result<T, E = Error> = std::result::Result<T, E>;

/// A file with accounts and the transfers between them. Clones share it, and its
/// connections.
#[derive(Clone, Debug)]
pub struct Ledger<R = AnyRuntime> {
    rt: R,
    connections: Arc<Connections>,
}

/// An amount that came into an account or went out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of the transfer; later ones have higher numbers.
    pub transfer: i64,
    /// The account on the other side.
    pub other: String,
    /// The amount that came in; negative if it went out.
    pub amount: i64,
}

/// The result of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// How many accounts there are.
    pub accounts: usize,
    /// How many entries they have.
    pub entries: usize,
    /// Accounts whose balance is not the sum of their entries.
    pub wrong: Vec<String>,
}

#[calls(mirror)]
impl<R: Runtime> Ledger<R> {
    /// The ledger in the file `path`. The first use opens or creates the file; `new` does not touch
    /// the disk.
    pub fn new(rt: R, path: impl AsRef<Path>) -> Self {
        let connections = Arc::new(Connections::new(path.as_ref()));
        Self { rt, connections }
    }

    /// Opens an account, which may go `credit` below zero; gives whether it is new. If it exists,
    /// only its credit changes.
    ///
    /// # Errors
    ///
    /// If the database fails.
    #[blocking]
    pub fn open(&self, account: &str, credit: u32) -> Result<bool> {
        let account = account.to_owned();
        self.transaction(move |books| books.open(&account, credit))
    }

    /// Moves an amount, and gives the number of the transfer.
    ///
    /// # Errors
    ///
    /// If one of the accounts is not known, `from` has too little, the amount is 0, the accounts are
    /// the same, or the database fails.
    #[blocking]
    pub fn transfer(&self, from: &str, to: &str, amount: u32) -> Result<i64> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.transaction(move |books| books.transfer(&from, &to, amount))
    }

    /// Does several operations as one transaction: all or none take effect, and no other writer
    /// comes in between.
    ///
    /// The closure runs on the thread of the call's body. If it gives an error or panics, nothing
    /// changes.
    ///
    /// # Errors
    ///
    /// The closure's error, or if the database fails.
    #[blocking]
    pub fn transaction<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Books<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut lent = self.connections.lend()?;
        lent.write(|transaction| change(&Books::new(transaction)))
    }

    /// The balance of an account.
    ///
    /// # Errors
    ///
    /// If the account is not known, or the database fails.
    #[blocking]
    pub fn balance(&self, account: &str) -> Result<i64> {
        self.connections.lend()?.balance(account)
    }

    /// The names of all accounts, in order.
    ///
    /// # Errors
    ///
    /// If the database fails.
    #[blocking]
    pub fn accounts(&self) -> Result<Vec<String>> {
        self.connections.lend()?.accounts()
    }

    /// The entries of an account, oldest first: rows of a query, read on demand, all as of the
    /// moment of the first one.
    ///
    /// Writers do not wait for readers. If the database fails, the error is the last item; for an
    /// unknown account, the error is the only item.
    #[blocking]
    pub fn entries(&self, account: &str) -> Items<Result<Entry>> {
        Entries::new(&self.connections, account, 0)
    }

    /// The entries of an account after a transfer, oldest first: the existing ones, and then each
    /// new one, of any process. It does not end by itself.
    pub async fn follow(&self, account: &str, after: i64) -> Items<Result<Entry>> {
        let (this, account) = (self.clone(), account.to_owned());
        generate(async move |mut to| {
            let (mut after, mut pause) = (after, SHORT);
            loop {
                let mut new = this.entries_after(&account, after);
                while let Some(entry) = new.next().await {
                    let last = entry.as_ref().ok().map(|entry| entry.transfer);
                    to.send(entry).await;
                    match last {
                        Some(last) => (after, pause) = (last, SHORT),
                        None => return,
                    }
                }
                this.rt.sleep(pause).await;
                pause = (pause * 2).min(LONG);
            }
        })
    }

    #[blocking]
    fn entries_after(&self, account: &str, after: i64) -> Items<Result<Entry>> {
        Entries::new(&self.connections, account, after)
    }

    /// The balances of several accounts, looked up in parallel; each is from its own moment.
    ///
    /// # Errors
    ///
    /// The first error.
    pub async fn balances(&self, accounts: &[&str]) -> Result<Vec<i64>> {
        let lookups = accounts.iter().map(|account| self.balance(account));
        self.rt.call_try_all(lookups).at_most(8).await
    }

    /// Waits up to `patience` until an account has this amount; gives whether it has.
    ///
    /// # Errors
    ///
    /// If the account is not known, or the database fails.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn wait_for(&self, account: &str, amount: i64, patience: Duration) -> Result<bool> {
        // `None`: so far away that it never comes.
        let (deadline, mut pause) = (self.rt.now().checked_add(patience), SHORT);
        while self.balance(account).await? < amount {
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(self.rt.now())
            });
            if left.is_zero() {
                return Ok(false);
            }
            self.rt.sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONG);
        }
        Ok(true)
    }

    /// Adds up all entries, and compares. Takes long for many entries.
    ///
    /// # Errors
    ///
    /// If the database fails.
    #[blocking]
    pub fn audit(&self) -> Result<Audit> {
        self.connections.lend()?.audit()
    }

    /// Writes the entries of an account as lines.
    ///
    /// Async callers stream [`entries`](Self::entries) instead, as they cannot use a blocking
    /// writer.
    ///
    /// # Errors
    ///
    /// If the account is not known, the database fails, or the writer does.
    #[only(blocking)]
    pub fn export(&self, account: &str, to: &mut dyn Write) -> io::Result<usize> {
        let mut count = 0;
        for entry in self.entries(account) {
            writeln!(to, "{}", entry.map_err(io::Error::other)?)?;
            count += 1;
        }
        Ok(count)
    }
}

/// How long to wait before the next look: at first, and when nothing has come for a while.
const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(50);

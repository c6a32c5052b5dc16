//! The library and its programs: one binary, as each takes time to link.

mod programs;
mod rules;
mod simulated;
mod ways;

use std::cell::RefCell;

use fourway_core::{AnyRuntime, Call};
use ledger::Ledger;

/// Ledgers with equal contents, each in its own file, until the end of the test.
struct Ledgers {
    rt: AnyRuntime,
    folder: tempfile::TempDir,
    made: RefCell<Vec<Ledger>>,
}

impl Ledgers {
    fn new(rt: &AnyRuntime) -> Self {
        Self {
            rt: rt.clone(),
            folder: tempfile::tempdir().unwrap(),
            made: RefCell::default(),
        }
    }

    /// `bank` may go below zero, and has given to `cash`; `rent` is empty.
    fn fresh(&self) -> Ledger {
        let mut made = self.made.borrow_mut();
        let file = self.folder.path().join(format!("{}.db", made.len()));
        let ledger = Ledger::new(self.rt.clone(), file);
        let filled = ledger.transaction(|books| {
            books.open("bank", 10_000)?;
            books.open("cash", 0)?;
            books.open("rent", 0)?;
            books.transfer("bank", "cash", 1_000)
        });
        assert_eq!(filled.wait().unwrap(), 1);
        made.push(ledger.clone());
        ledger
    }

    /// The final balances, which are equal in all of them.
    fn balances(self) -> Vec<i64> {
        let made = self.made.into_inner();
        let balances = |ledger: &Ledger| {
            let audit = ledger.audit().wait().unwrap();
            assert_eq!(audit.wrong, [""; 0]);
            let balances = ledger.balances(&["bank", "cash", "rent"]);
            balances.wait().unwrap()
        };
        let first = balances(&made[0]);
        for ledger in &made {
            assert_eq!(balances(ledger), first);
        }
        first
    }
}

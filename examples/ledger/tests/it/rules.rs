//! Further statements of the library's docs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use fourway_core::{BlockOn, Call, Spawner};
use fourway_testing::{each, eventually, run};
use ledger::Ledger;

use crate::Ledgers;

/// More rows than are read at once.
const MANY: u32 = 1_000;

fn fill(ledger: &Ledger) {
    let many = ledger.transaction(|books| {
        for _ in 0..MANY {
            books.transfer("bank", "rent", 1)?;
        }
        Ok(())
    });
    many.wait().unwrap();
}

#[test]
fn rows_are_of_one_moment_and_writers_do_not_wait() {
    each(|rt| {
        let all = Ledgers::new(&rt);
        let ledger = all.fresh();
        fill(&ledger);
        // Read by an async caller at first, and by sync code to its end.
        let mut entries = ledger.entries("rent");
        let first = run(&rt, entries.next()).unwrap().unwrap();
        ledger.transfer("bank", "rent", 1).wait().unwrap();
        let mut last = first.transfer;
        let mut count = 1;
        for entry in entries {
            let transfer = entry.unwrap().transfer;
            assert_eq!(transfer, last + 1);
            (last, count) = (transfer, count + 1);
        }
        assert_eq!(count, MANY);
        assert_eq!(
            ledger.entries("rent").into_iter().count(),
            MANY as usize + 1
        );
        // If left half-way, it blocks no other caller.
        for entry in ledger.entries("rent").into_iter().take(3) {
            entry.unwrap();
        }
        let mut some = ledger.entries("rent").spawn();
        run(&rt, some.next()).unwrap().unwrap();
        drop(some);
        ledger.transfer("bank", "rent", 1).wait().unwrap();
    });
}

#[test]
fn followers_see_what_others_write() {
    each(|rt| {
        let all = Ledgers::new(&rt);
        let ledger = all.fresh();
        let mut new = ledger.follow("rent", 0);
        let follower = rt.spawn(async move {
            let mut seen = 0;
            while seen < i64::from(MANY) {
                seen += new.next().await.unwrap().unwrap().amount;
            }
            seen
        });
        for _ in 0..MANY / 100 {
            ledger.transfer("bank", "rent", 100).wait().unwrap();
        }
        assert_eq!(run(&rt, follower).unwrap(), i64::from(MANY));
        // And from after a transfer on.
        let mut rest = ledger.follow("rent", 5);
        assert_eq!(run(&rt, rest.next()).unwrap().unwrap().transfer, 6);
    });
}

#[test]
fn what_waits_for_money_gets_it() {
    each(|rt| {
        let all = Ledgers::new(&rt);
        let ledger = all.fresh();
        let waiter = ledger.wait_for("rent", 500, fourway_testing::AGES).spawn();
        ledger.transfer("cash", "rent", 499).wait().unwrap();
        ledger.transfer("cash", "rent", 1).wait().unwrap();
        assert!(run(&rt, waiter).unwrap().unwrap());
        // Also with all the time there is.
        let waiter = ledger.wait_for("rent", 501, Duration::MAX).spawn();
        ledger.transfer("cash", "rent", 1).wait().unwrap();
        assert!(run(&rt, waiter).unwrap().unwrap());
    });
}

#[test]
fn a_panic_in_a_transaction_changes_nothing_and_reaches_the_caller() {
    each(|rt| {
        let all = Ledgers::new(&rt);
        let ledger = all.fresh();
        let broken = || {
            ledger.transaction(|books| {
                books.transfer("cash", "rent", 1)?;
                panic!("on purpose");
                #[expect(unreachable_code, reason = "for the closure's type")]
                Ok(())
            })
        };
        let payload = catch_unwind(AssertUnwindSafe(|| broken().wait())).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        let error = run(&rt, broken().spawn()).unwrap_err();
        assert!(error.is_panic());
        assert_eq!(ledger.balance("rent").wait().unwrap(), 0);
    });
}

/// Many callers transfer cash at once, in every way: none is lost or created.
#[test]
fn transfers_from_everywhere_add_up() {
    each(|rt| {
        let all = Ledgers::new(&rt);
        let ledger = all.fresh();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        ledger.transfer("cash", "rent", 1).wait().unwrap();
                    }
                });
            }
            let spawned: Vec<_> = (0..10)
                .map(|_| ledger.transfer("cash", "rent", 1).spawn())
                .collect();
            rt.block_on(async {
                for _ in 0..10 {
                    ledger.transfer("cash", "rent", 1).await.unwrap();
                }
                for task in spawned {
                    task.await.unwrap().unwrap();
                }
            });
        });
        eventually("all are there", || {
            ledger.balance("rent").wait().unwrap() == 60
        });
        assert_eq!(all.balances(), [-1_000, 940, 60]);
    });
}

#[test]
fn what_the_database_says_is_an_error_with_its_file() {
    each(|rt| {
        let ledger = Ledger::new(rt.clone(), "no/such/folder/ledger.db");
        let error = ledger.balance("cash").wait().unwrap_err();
        assert!(
            error.to_string().contains("no/such/folder/ledger.db"),
            "{error}"
        );
        assert!(!error.is_busy() && !error.is_unknown() && !error.is_insufficient());
        let items: Vec<_> = run(&rt, ledger.entries("cash").collect());
        assert!(items.len() == 1 && items[0].is_err());
    });
}

//! Every method in every way, on every runtime: all give the same results, and leave the same
//! state.

use std::time::Duration;

use fourway_core::AnyRuntime;
use fourway_streams::Items;
use fourway_testing::{AGES, columns, each, items_in_columns, run};
use ledger::{Audit, Entry, Error, asynchronous, blocking};

use crate::Ledgers;

#[test]
fn every_method_in_every_column() {
    each(|rt| {
        let rt = &rt;
        let ledgers = || Ledgers::new(rt);
        let all = ledgers();
        assert_eq!(columns!(rt, all.fresh().open("new", 5)), Ok(true));
        assert_eq!(columns!(rt, all.fresh().open("cash", 5)), Ok(false));
        assert_eq!(
            columns!(rt, all.fresh().transfer("cash", "rent", 700)),
            Ok(2)
        );
        let all = ledgers();
        assert_eq!(
            columns!(rt, all.fresh().transfer("cash", "rent", 700)),
            Ok(2)
        );
        assert_eq!(all.balances(), [-1_000, 300, 700]);
        let all = ledgers();
        let refused = columns!(rt, all.fresh().transfer("cash", "rent", 1_001)).unwrap_err();
        assert_eq!(refused, "`cash` has too little");
        let both = columns!(
            rt,
            all.fresh().transaction(|books| {
                books.transfer("cash", "rent", 600)?;
                books.transfer("cash", "rent", 600)
            })
        );
        assert_eq!(both.unwrap_err(), "`cash` has too little");
        // Neither transfer has an effect.
        assert_eq!(all.balances(), [-1_000, 1_000, 0]);
        let all = ledgers();
        let ledger = all.fresh();
        assert_eq!(columns!(rt, ledger.balance("cash")), Ok(1_000));
        let unknown = columns!(rt, ledger.balance("no such")).unwrap_err();
        assert!(
            unknown.contains("there is no account `no such`"),
            "{unknown}"
        );
        assert_eq!(
            columns!(rt, ledger.balances(&["cash", "bank"])),
            Ok(vec![1_000, -1_000])
        );
        let names = columns!(rt, ledger.accounts()).unwrap();
        assert_eq!(names, ["bank", "cash", "rent"]);
        assert_eq!(columns!(rt, ledger.wait_for("cash", 1_000, AGES)), Ok(true));
        let patience = Duration::from_millis(5);
        assert_eq!(
            columns!(rt, ledger.wait_for("rent", 1, patience)),
            Ok(false)
        );
        let audit = Audit {
            accounts: 3,
            entries: 2,
            wrong: vec![],
        };
        assert_eq!(columns!(rt, ledger.audit()), Ok(audit));
        let line = |entry: Result<Entry, Error>| match entry {
            Ok(entry) => entry.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(
            items_in_columns!(rt, ledger.entries("cash"), line),
            ["1 +1000 bank"]
        );
        let unknown = items_in_columns!(rt, ledger.entries("no such"), line);
        assert_eq!(unknown, ["there is no account `no such`: open it first"]);
        // `follow` ends only with an error.
        let unknown = items_in_columns!(rt, ledger.follow("no such", 0), line);
        assert_eq!(unknown.len(), 1);
    });
}

/// Two libraries in one program, one of each kind, on one file: each sees the changes of the other.
/// Calls every method of both mirrors. A test of `fourway-macros` checks that none is left out.
#[test]
fn the_mirrors_give_what_the_library_gives() {
    fn the_same_of_results<T: PartialEq + std::fmt::Debug>(
        plain: Result<T, Error>,
        awaited: Result<T, Error>,
    ) -> T {
        let (plain, awaited) = (plain.unwrap(), awaited.unwrap());
        assert_eq!(plain, awaited);
        plain
    }
    each(|rt| {
        let all = Ledgers::new(&rt);
        let plain = blocking::Ledger::from(all.fresh());
        let awaited = asynchronous::Ledger::from(plain.clone());
        // In the file of the other.
        let other: blocking::Ledger<AnyRuntime> = asynchronous::Ledger::from(all.fresh()).into();
        macro_rules! both {
            ($method:ident($($argument:expr),*)) => {
                the_same_of_results(
                    plain.$method($($argument),*),
                    run(&rt, awaited.$method($($argument),*)),
                )
            };
        }
        assert_eq!(plain.transfer("cash", "rent", 1).unwrap(), 2);
        assert_eq!(run(&rt, awaited.transfer("cash", "rent", 2)).unwrap(), 3);
        assert_eq!(other.transfer("cash", "rent", 3).unwrap(), 2);
        assert!(!both!(open("rent", 0)));
        assert_eq!(both!(balance("rent")), 3);
        assert_eq!(both!(balances(&["rent", "cash"])), [3, 997]);
        assert_eq!(both!(accounts()).len(), 3);
        assert!(both!(wait_for("rent", 3, AGES)));
        assert_eq!(both!(audit()).entries, 6);
        assert_eq!(both!(transaction(|books| books.balance("bank"))), -1_000);
        assert_eq!(plain.entries("rent").into_iter().count(), 2);
        assert_eq!(run(&rt, awaited.entries("rent").collect()).len(), 2);
        let unknown = |mut items: Items<Result<Entry, Error>>| {
            let error = run(&rt, items.next()).unwrap().unwrap_err();
            assert!(run(&rt, items.next()).is_none());
            error.to_string()
        };
        let error = unknown(plain.follow("no such", 0));
        assert_eq!(error, unknown(awaited.follow("no such", 0)));
        let mut followed = (plain.follow("rent", 2), awaited.follow("rent", 2));
        let first = followed.0.iter().next().unwrap().unwrap();
        assert_eq!(run(&rt, followed.1.next()).unwrap().unwrap(), first);
        assert_eq!((first.transfer, first.amount), (3, 2));
        // Where they differ: the blocking mirror has a method that only sync code can use.
        let mut text = Vec::new();
        assert_eq!(plain.export("rent", &mut text).unwrap(), 2);
        assert_eq!(String::from_utf8(text).unwrap(), "2 +1 cash\n3 +2 cash\n");
        // The constructors of both mirrors, on one file.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.db");
        let plain = blocking::Ledger::new(rt.clone(), &file);
        let awaited = asynchronous::Ledger::new(rt.clone(), &file);
        assert!(plain.open("cash", 5).unwrap());
        assert!(!run(&rt, awaited.open("cash", 5)).unwrap());
    });
}

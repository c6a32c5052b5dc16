//! The library as it is, under many schedules, with callers that are cancelled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Call, Spawner, Task, Timer};
use fourway_sim::{Check, Faults, Sim};
use ledger::Ledger;

const MS: Duration = Duration::from_millis(1);
/// Those of callers that nobody cancels.
const SAFE: i64 = 3;

/// Rent is paid in every way at once.
fn callers(rt: Sim) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(rt.clone(), folder.path().join("ledger.db"));
    let filled = ledger.transaction(|books| {
        books.open("bank", 10_000)?;
        books.open("rent", 0)
    });
    assert!(filled.wait().unwrap());
    let (begun, done) = (Arc::<AtomicI64>::default(), Arc::<AtomicI64>::default());
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (ledger, begun, done) = (ledger.clone(), begun.clone(), done.clone());
            rt.spawn_named("caller", async move {
                for _ in 0..2 {
                    begun.fetch_add(1, Relaxed);
                    ledger.transfer("bank", "rent", 1).await.unwrap();
                    done.fetch_add(1, Relaxed);
                }
                let balances = ledger.balances(&["bank", "rent"]).await.unwrap();
                assert!(balances[0] < 0 && balances[1] >= 2, "{balances:?}");
                // Rows, some of which nobody reads.
                let mut entries = ledger.entries("rent");
                assert_eq!(entries.next().await.unwrap().unwrap().amount, 1);
            })
        })
        .collect();
    let mut new = ledger.follow("rent", 0);
    let follower = rt.spawn(async move {
        let mut last = 0;
        for _ in 0..SAFE {
            let entry = new.next().await.unwrap().unwrap();
            assert!(entry.transfer > last && entry.amount == 1, "{entry}");
            last = entry.transfer;
        }
    });
    let waits = ledger
        .wait_for("rent", SAFE, Duration::from_secs(60))
        .spawn();
    // Sync code beside them, on this thread and another one, and a call that is spawned.
    let other = ledger.clone();
    let thread = rt.thread(move || other.transfer("bank", "rent", 1).wait().unwrap());
    let spawned = ledger.transfer("bank", "rent", 1).spawn();
    ledger.transfer("bank", "rent", 1).wait().unwrap();
    thread.wait().unwrap();
    spawned.wait().unwrap().unwrap();
    follower.wait().unwrap();
    assert!(waits.wait().unwrap().unwrap());
    for task in callers {
        if let Err(error) = task.wait() {
            assert!(error.is_cancelled(), "{error}");
        }
    }
    // A transfer that had begun when its caller went may still be on its way: time passes when
    // nothing can run.
    rt.block_on(rt.sleep(MS));
    let audit = ledger.audit().wait().unwrap();
    assert_eq!((audit.accounts, audit.wrong), (2, Vec::new()));
    let balances = ledger.balances(&["bank", "rent"]).wait().unwrap();
    let (done, begun) = (done.load(Relaxed) + SAFE, begun.load(Relaxed) + SAFE);
    assert!((done..=begun).contains(&balances[1]), "{balances:?}");
    assert_eq!(balances[0], -balances[1]);
    let rows = ledger.entries("rent").into_iter().map(Result::unwrap);
    assert_eq!(rows.map(|entry| entry.amount).sum::<i64>(), balances[1]);
}

fn simulated(seeds: u64, faults: Faults) {
    let builder = Sim::builder().faults(faults).offload_limit(3);
    Check::default().seeds(seeds).with(builder).run(callers);
}

#[test]
fn transfers_are_made_once_and_add_up_whoever_is_cancelled() {
    simulated(1000, Faults::none().cancel(50, ["caller"]));
}

#[test]
fn and_if_some_are_late() {
    simulated(100, Faults::none().slow(100, 3 * MS).jitter(MS));
}

//! OF-7, a burst starts few threads: if its closures are short.

use fourway_core::{BlockOn, Offload, Spawner};

use crate::{Case, cases::table, setup::Setup, util::Threads};

use super::limit;

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "OF-7.1", "10 000 short closures use few threads",
        "Tokio starts hundreds for such a burst", burst;
        "OF-7.2", "short closures from many tasks, awaited, use few threads",
        "the usual load of a server", steady;
    ]
}

fn burst<S: Setup>(s: S) {
    let rt = limit(s, 512);
    let threads = Threads::default();
    let closures: Vec<_> = (0..10_000)
        .map(|_| {
            let threads = threads.clone();
            rt.offload(move || threads.note())
        })
        .collect();
    rt.block_on(async {
        for closure in closures {
            closure.await.unwrap();
        }
    });
    assert_few(&threads);
}

/// Few means far fewer than one for each closure and than the limit of 512: one for each core, and
/// those that a runtime adds when it sees no progress for a while, which a loaded machine may
/// cause.
#[track_caller]
fn assert_few(threads: &Threads) {
    assert!(threads.count() <= 128, "{} threads", threads.count());
}

fn steady<S: Setup>(s: S) {
    let rt = limit(s, 512);
    let threads = Threads::default();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (inner, threads) = (rt.clone(), threads.clone());
            rt.spawn(async move {
                for _ in 0..20 {
                    let threads = threads.clone();
                    inner.offload(move || threads.note()).await.unwrap();
                }
            })
        })
        .collect();
    rt.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_few(&threads);
}

//! LO-2, local spawn from anywhere.

use std::{cell::Cell, future::pending, rc::Rc};

use fourway_core::{BlockOn, Offload, Spawner, Timer, local, yield_now};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{OnDrop, caught, poll_once},
};

use super::{Here, MS};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "LO-2.1", "local::spawn works deep inside, in the main future and in local tasks",
        "a handle that must be passed through everything", deep;
        "LO-2.2", "local::run drives local tasks inside a block_on, on its thread",
        "Tokio's LocalSet::run_until", run_inside;
        "LO-2.3", "the innermost is the current one, and the outer one again afterwards",
        "a thread-local that is not restored", innermost;
        "LO-2.4", "outside, in a spawned task and on other threads, it panics at the caller's line",
        "what is lost without a word is looked for all night", outside;
        "LO-2.5", "dropping local::run destroys its future and its tasks, which may spawn",
        "a destructor that tidies up", dropped;
        "LO-2.6", "a spawned task offloads, and blocks on local tasks there",
        "futures that are not Send, from code that moves", offloaded;
    ]
}

fn deep<S: Setup>(s: S) {
    async fn leaf(here: Here, left: u32) -> u32 {
        here.check();
        yield_now().await;
        match left {
            0 => 1,
            _ => {
                let next = || local::spawn(Box::pin(leaf(here.clone(), left - 1)));
                next().await.unwrap() + next().await.unwrap()
            }
        }
    }
    let rt = s.build();
    let here = Here::new();
    let leaves = local::block_on(&rt, async |_| leaf(here.clone(), 5).await);
    assert_eq!(leaves.unwrap(), 32);
}

fn run_inside<S: Setup>(s: S) {
    let rt = s.build();
    let here = Here::new();
    let sum = Rc::new(Cell::new(0));
    rt.block_on(async {
        let inner = rt.clone();
        let tasks = local::run(async |_| {
            let tasks: Vec<_> = (1..=10)
                .map(|n| {
                    let (here, sum, rt) = (here.clone(), sum.clone(), inner.clone());
                    local::spawn(async move {
                        rt.sleep(MS).await;
                        rt.spawn(yield_now()).await.unwrap();
                        here.check();
                        sum.set(sum.get() + n);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        tasks.await;
    });
    assert_eq!(sum.get(), 55);
}

fn innermost<S: Setup>(s: S) {
    let rt = s.build();
    assert!(local::current().is_none());
    let left = Rc::new(Cell::new(false));
    let on_drop = |left: &Rc<Cell<bool>>| {
        let left = left.clone();
        OnDrop(move || left.set(true))
    };
    local::block_on(&rt, async |_| {
        let value = on_drop(&left);
        local::run(async |_| {
            local::spawn(async move {
                let _value = value;
                pending::<()>().await;
            })
            .detach();
            yield_now().await;
        })
        .await;
        assert!(left.get(), "it belonged to the inner one, and went with it");
        left.set(false);
        let value = on_drop(&left);
        local::spawn(async move {
            let _value = value;
            pending::<()>().await;
        })
        .detach();
        yield_now().await;
        assert!(!left.get());
    })
    .unwrap();
    assert!(left.get());
    assert!(local::current().is_none());
}

fn outside<S: Setup>(s: S) {
    fn check() {
        assert!(local::current().is_none());
        let line = line!() + 1;
        let panic = caught(|| local::spawn(async {}).detach());
        assert_eq!((&*panic.file, panic.line), (file!(), line), "{panic:?}");
    }
    let rt = s.build();
    check();
    rt.block_on(async { check() });
    local::block_on(&rt, async |_| {
        rt.spawn(async { check() }).await.unwrap();
        rt.offload(check).await.unwrap();
    })
    .unwrap();
}

fn dropped<S: Setup>(s: S) {
    let rt = s.build();
    let destroyed = Rc::new(Cell::new(0));
    let bomb = || {
        let destroyed = destroyed.clone();
        OnDrop(move || {
            // Refused, as it is too late; not a panic.
            local::spawn(async {}).detach();
            destroyed.set(destroyed.get() + 1);
        })
    };
    rt.block_on(async {
        let (first, second) = (bomb(), bomb());
        let mut run = Box::pin(local::run(async move |_| {
            let _first = first;
            local::spawn(async move {
                let _second = second;
                pending::<()>().await;
            })
            .detach();
            pending::<()>().await;
        }));
        for _ in 0..3 {
            assert!(poll_once(&mut run, std::task::Waker::noop()).is_pending());
        }
        drop(run);
    });
    assert_eq!(destroyed.get(), 2);
}

fn offloaded<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let blocking = inner.clone();
        inner
            .offload(move || {
                local::block_on(&blocking, async |_| {
                    let text = Rc::new(String::from("not Send"));
                    local::spawn(async move { text.len() }).await.unwrap()
                })
            })
            .await
    });
    assert_eq!(rt.block_on(task).unwrap().unwrap().unwrap(), 8);
}

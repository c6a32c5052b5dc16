//! NU-7, sync nurseries.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use fourway_core::{BlockOn, Offload, Spawner, Task, cancel, context};

use crate::{
    Case,
    cases::table,
    nursery::{Kind, Settings, SyncNursery, Trouble},
    setup::Setup,
    util::{Gate, Gauge, drive, eventually, on_thread, panic_quietly},
};

use super::{Error, Here, MS, error, limit, texts, trouble};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "NU-7.1", "its children borrow, and run at a time",
        "std::thread::scope", borrows, extended;
        "NU-7.2", "it joins all, also if a child or the body panics, and has the payload",
        "std::thread::scope says only that a scoped thread panicked", joins_on_panic, extended;
        "NU-7.3", "in async code it is refused, and its body not called",
        "a sync nursery in async code freezes the event loop", refused_in_async, extended;
        "NU-7.4", "the first failure asks the siblings to end, and the others come with it",
        "the same policies as in async code", fails_fast, extended;
        "NU-7.5", "its limit holds, and all have their turn",
        "a thread each for a million files", limited, extended;
        "NU-7.6", "in an offloaded closure, with a pool of one, its children may offload",
        "a join that keeps the only slot", in_a_closure, extended;
        "NU-7.7", "its deadline asks its children to end, and is told apart",
        "scoped threads that nobody can stop", timed_out, extended;
    ]
}

impl Here {
    fn run_sync<'env>(
        &self,
        settings: Settings,
        body: impl for<'scope> FnOnce(SyncNursery<'scope, 'env>) -> Result<u32, Error> + 'env,
    ) -> Result<u32, Trouble> {
        self.nurseries.run_sync(&self.rt, settings, Box::new(body))
    }
}

fn borrows<S: Setup>(s: S) {
    let here = Here::of(s);
    let met = on_thread(move || {
        let met = AtomicUsize::new(0);
        let (first, second) = (Gate::new(), Gate::new());
        let result = here.run_sync(Settings::default(), |n| {
            n.spawn(|| {
                first.open();
                second.wait();
                met.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            let again = n.clone();
            n.spawn({
                let (first, second, met) = (&first, &second, &met);
                move || {
                    first.wait();
                    second.open();
                    again.spawn(move || {
                        met.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    });
                    Ok(())
                }
            });
            Ok(3)
        });
        assert_eq!(result.expect("nothing has failed"), 3);
        met.into_inner()
    });
    assert_eq!(met, 2);
}

fn joins_on_panic<S: Setup>(s: S) {
    let here = Here::of(s);
    for of_the_body in [false, true] {
        let here = here.clone();
        on_thread(move || {
            let ended = AtomicUsize::new(0);
            let result = here.run_sync(Settings::default(), |n| {
                let running = Gate::new();
                let opens = running.clone();
                n.spawn(|| {
                    let opens = opens;
                    opens.open();
                    eventually("it is asked to end", cancel::is_cancelled);
                    thread::sleep(MS);
                    ended.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
                running.wait();
                if of_the_body {
                    panic_quietly("on purpose");
                }
                n.spawn(|| panic_quietly("on purpose"));
                Ok(0)
            });
            let trouble = trouble(result);
            assert_eq!(trouble.kind, Kind::Failed);
            assert_eq!(texts(&trouble.failures), ["panic: on purpose"]);
            assert_eq!(ended.into_inner(), 1);
        });
    }
}

fn refused_in_async<S: Setup>(s: S) {
    /// How it ends when it is called here, and whether the body ran.
    fn kind(here: &Here) -> (Option<Kind>, bool) {
        let mut called = false;
        let result = here.run_sync(Settings::default(), |_| {
            called = true;
            Ok(0)
        });
        (result.err().map(|trouble| trouble.kind), called)
    }
    let here = Here::of(s);
    let inner = here.clone();
    let refused = (Some(Kind::Refused), false);
    let task = here.rt.spawn(async move { kind(&inner) });
    assert_eq!(drive(task).unwrap(), refused);
    assert_eq!(here.rt.block_on(async { kind(&here) }), refused);
    let inner = here.clone();
    let closure = here.rt.offload(move || kind(&inner));
    assert_eq!(drive(closure).unwrap(), (None, true));
    assert_eq!(context::current(), context::Context::Sync);
    assert_eq!(kind(&here), (None, true));
}

fn fails_fast<S: Setup>(s: S) {
    let here = Here::of(s);
    let trouble = on_thread(move || {
        trouble(here.run_sync(Settings::default(), |n| {
            let running = Gate::new();
            let opens = running.clone();
            n.spawn(move || {
                opens.open();
                eventually("it is asked to end", cancel::is_cancelled);
                Err(error("second"))
            });
            let (running_too, runs_too) = Gate::pair();
            n.spawn(move || {
                running_too.open();
                loop {
                    cancel::check()?;
                    thread::sleep(MS);
                }
            });
            running.wait();
            runs_too.wait();
            n.spawn(|| Err(error("first")));
            Ok(0)
        }))
    });
    assert_eq!(trouble.kind, Kind::Failed);
    assert_eq!(texts(&trouble.failures), ["first", "second"]);
    assert_eq!(trouble.cancelled, 1);
}

fn limited<S: Setup>(s: S) {
    let here = Here::of(s);
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let ran = on_thread(move || {
        let ran = AtomicUsize::new(0);
        let result = here.run_sync(limit(2), |n| {
            for _ in 0..20 {
                n.spawn(|| {
                    let _inside = inside.enter();
                    thread::yield_now();
                    ran.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
            }
            Ok(0)
        });
        result.expect("nothing has failed");
        ran.into_inner()
    });
    assert!(gauge.most() <= 2, "{} of 2", gauge.most());
    assert_eq!(ran, 20);
}

fn in_a_closure<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.offload_limit = 1);
    let here = Here::on(s, rt);
    let inner = here.clone();
    let closure = here.rt.offload(move || {
        let pool = inner.rt.clone();
        let result = inner.run_sync(Settings::default(), |n| {
            for _ in 0..3 {
                n.spawn(|| {
                    let text = String::from("from the pool");
                    let length = pool.offload(move || text.len()).wait();
                    assert_eq!(length.expect("it ran"), 13);
                    Ok(())
                });
            }
            Ok(1)
        });
        result.expect("nothing has failed")
    });
    assert_eq!(drive(closure).unwrap(), 1);
}

fn timed_out<S: Setup>(s: S) {
    let here = Here::of(s);
    let trouble = on_thread(move || {
        trouble(here.run_sync(super::timeout(5 * MS), |n| {
            n.spawn(|| {
                loop {
                    cancel::check()?;
                    thread::sleep(MS);
                }
            });
            Ok(0)
        }))
    });
    assert_eq!((trouble.kind, trouble.cancelled), (Kind::Timeout, 1));
    assert!(trouble.failures.is_empty(), "{trouble:?}");
}

//! Several calls: one of two, one after the other, many at once, with limits; in every column,
//! on every runtime.

use std::{
    future::{pending, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use crate::support::{every, in_all_columns};
use fourway::{
    AnyRuntime, BoxCall, Elapsed,
    call::{Call, Either},
    context::{self, Context},
    prelude::*,
};

/// Everything that must happen, happens before this.
const MUST: Duration = Duration::from_secs(60);

fn fails(rt: &AnyRuntime, text: &'static str) -> impl Call<Output = Result<u32, String>> + use<> {
    rt.call_blocking(move || Err(String::from(text)))
}

fn works(rt: &AnyRuntime, n: u32) -> impl Call<Output = Result<u32, String>> + use<> {
    rt.call(async move { Ok(n) })
}

#[test]
fn branches_may_differ_in_kind() {
    every(|rt| {
        let find = |key: u32| match key {
            0 => Either::Left(rt.call_ready(None)),
            1 => Either::Right(Either::Left(rt.call(async { Some(Context::Sync) }))),
            _ => Either::Right(Either::Right(rt.call_blocking(|| Some(context::current())))),
        };
        assert_eq!(in_all_columns(&rt, || find(0)), [None; 3]);
        assert_eq!(in_all_columns(&rt, || find(1)), [Some(Context::Sync); 3]);
        let [waited, awaited, spawned] = in_all_columns(&rt, || find(2));
        assert_eq!(waited, Some(Context::Sync));
        assert_eq!([awaited, spawned], [Some(Context::Blocking); 2]);
        // As part of others.
        let is_there = || find(2).map(|found| found.is_some());
        assert_eq!(in_all_columns(&rt, is_there), [true; 3]);
        let chained = || {
            let again = rt.clone();
            find(0).then(move |found| again.call(async move { found.is_none() }))
        };
        assert_eq!(in_all_columns(&rt, chained), [true; 3]);
        let limited = || find(1).timeout(MUST).map(|found| found.is_ok());
        assert_eq!(in_all_columns(&rt, limited), [true; 3]);
        assert_eq!(
            rt.block_on(find(2).fallible()).unwrap(),
            Some(Context::Blocking)
        );
    });
}

#[test]
fn results_go_on_by_half() {
    every(|rt| {
        let and_then = |first: BoxCall<Result<u32, String>>| {
            let again = rt.clone();
            first.and_then(move |n| again.call_blocking(move || Ok(n + 1)))
        };
        let go_on = || and_then(works(&rt, 1).boxed());
        assert_eq!(in_all_columns(&rt, go_on), [Ok(2), Ok(2), Ok(2)]);
        let stop = || and_then(fails(&rt, "no").boxed());
        for outcome in in_all_columns(&rt, stop) {
            assert_eq!(outcome.unwrap_err(), "no");
        }
        let or_else = |first: BoxCall<Result<u32, String>>| {
            let again = rt.clone();
            first
                .or_else(move |text| again.call(async move { Err::<u32, _>(text.len()) }))
                .map(|outcome| outcome.unwrap_or_else(|length| length as u32 * 100))
        };
        assert_eq!(
            in_all_columns(&rt, || or_else(works(&rt, 7).boxed())),
            [7; 3]
        );
        assert_eq!(
            in_all_columns(&rt, || or_else(fails(&rt, "no").boxed())),
            [200; 3]
        );
    });
}

#[test]
fn a_limit_in_time_drops_the_call() {
    every(|rt| {
        let never = || {
            let call = rt.call(pending::<u32>());
            call.timeout(Duration::from_millis(5))
        };
        for outcome in in_all_columns(&rt, never) {
            let _: Elapsed = outcome.unwrap_err();
        }
        // A closure that has begun is left to itself; the caller goes on.
        let stuck = || {
            let (held, hold) = mpsc::channel::<()>();
            let call = rt.call_blocking(move || hold.recv().is_err());
            (held, call.timeout(Duration::from_millis(5)))
        };
        let (held, call) = stuck();
        assert!(call.wait().is_err());
        drop(held);
        let (held, call) = stuck();
        assert!(rt.block_on(call).is_err());
        drop(held);
        let (held, call) = stuck();
        assert!(rt.block_on(call.spawn()).unwrap().is_err());
        drop(held);
        let soon = || works(&rt, 3).timeout(MUST);
        assert_eq!(in_all_columns(&rt, soon), [Ok(Ok(3)), Ok(Ok(3)), Ok(Ok(3))]);
        let zero = || rt.call_ready(1).timeout(Duration::ZERO);
        assert_eq!(in_all_columns(&rt, zero), [Ok(1); 3]);
        let longest = || rt.call_blocking(|| 1).timeout(Duration::MAX);
        assert_eq!(in_all_columns(&rt, longest), [Ok(1); 3]);
    });
}

#[test]
fn all_give_their_outputs_in_order() {
    every(|rt| {
        let mixed = || {
            let calls = (0..100_usize).map(|n| match n % 2 {
                0 => Either::Left(rt.call_blocking(move || n)),
                _ => {
                    let inner = rt.clone();
                    Either::Right(rt.call_with(async move || {
                        inner.sleep(Duration::from_millis(n as u64 % 5)).await;
                        n
                    }))
                }
            });
            rt.call_all(calls)
        };
        let expected: Vec<usize> = (0..100).collect();
        for outputs in in_all_columns(&rt, mixed) {
            assert_eq!(outputs, expected);
        }
        for outputs in in_all_columns(&rt, || mixed().at_most(3)) {
            assert_eq!(outputs, expected);
        }
        let none = || rt.call_all(Vec::<BoxCall<u32>>::new());
        assert_eq!(in_all_columns(&rt, none), [const { Vec::<u32>::new() }; 3]);
        // Names that are borrowed, and a part of another call.
        let names = [String::from("a"), String::from("bc")];
        let lengths = || {
            let calls = names.iter().map(|name| {
                let name = name.clone();
                rt.call(async move { name.len() })
            });
            rt.call_all(calls)
                .map(|lengths| lengths.iter().sum::<usize>())
        };
        assert_eq!(in_all_columns(&rt, lengths), [3; 3]);
    });
}

/// Calls that tell how many of them ran at a time, at most.
fn gauged(rt: &AnyRuntime, calls: usize) -> (Vec<BoxCall<()>>, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let calls = (0..calls).map(|n| {
        let (now, most) = (now.clone(), most.clone());
        let enter = move || {
            let entered = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(entered, Ordering::SeqCst);
            now
        };
        if n % 2 == 0 {
            rt.call_blocking(move || {
                let now = enter();
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            })
            .boxed()
        } else {
            rt.call_with(async move || {
                let now = enter();
                fourway::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
            })
            .boxed()
        }
    });
    (calls.collect(), most.clone())
}

#[test]
fn no_more_run_at_a_time_than_the_limit_says() {
    every(|rt| {
        for limit in [1, 3] {
            let (calls, most) = gauged(&rt, 60);
            rt.call_all(calls).at_most(limit).wait();
            assert!(most.load(Ordering::SeqCst) <= limit);
            let (calls, most) = gauged(&rt, 60);
            rt.block_on(rt.call_all(calls).at_most(limit).spawn())
                .unwrap();
            assert!(most.load(Ordering::SeqCst) <= limit);
        }
        // Without one, all run at once: each waits for all others.
        let there = Arc::new(std::sync::Barrier::new(8));
        let calls = (0..8).map(|_| {
            let there = there.clone();
            rt.call_blocking(move || there.wait().is_leader())
        });
        let leaders = rt.call_all(calls).wait();
        assert_eq!(leaders.iter().filter(|leads| **leads).count(), 1);
        // Nor more than there are: the limit is none.
        assert_eq!(
            rt.call_all([rt.call_ready(1)]).at_most(usize::MAX).wait(),
            [1]
        );
    });
}

#[test]
#[should_panic(expected = "no call could ever run")]
fn a_limit_of_zero_is_refused() {
    let rt = fourway::default_runtime();
    let _ = rt.call_all([rt.call_ready(1)]).at_most(0);
}

#[test]
fn the_first_error_ends_it_and_drops_the_others() {
    every(|rt| {
        let good = || rt.call_try_all((1..=3).map(|n| works(&rt, n)));
        let expected = Ok(vec![1, 2, 3]);
        assert_eq!(
            in_all_columns(&rt, good),
            [expected.clone(), expected.clone(), expected]
        );
        let bad = || {
            let forever = rt.call(pending::<Result<u32, String>>());
            rt.call_try_all([
                works(&rt, 1).boxed(),
                forever.boxed(),
                fails(&rt, "no").boxed(),
            ])
        };
        for outcome in in_all_columns(&rt, bad) {
            assert_eq!(outcome.unwrap_err(), "no");
        }
    });
}

#[test]
fn the_first_of_a_race_wins_and_the_others_are_dropped() {
    every(|rt| {
        let dropped = Arc::new(AtomicUsize::new(0));
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let race = || {
            let loser = Counts(dropped.clone());
            let forever = rt.call(async move {
                let _loser = loser;
                pending::<u32>().await
            });
            rt.call_race([forever.boxed(), rt.call_blocking(|| 5).boxed()])
        };
        assert_eq!(in_all_columns(&rt, race), [Some(5); 3]);
        assert_eq!(dropped.load(Ordering::SeqCst), 3);
        assert_eq!(rt.call_race(Vec::<BoxCall<u32>>::new()).wait(), None);
        // Beyond the limit, no call starts.
        let second = rt.call_with(|| -> std::future::Ready<u32> { panic!("it never starts") });
        let race = rt.call_race([rt.call_ready(1).boxed(), second.boxed()]);
        assert_eq!(race.at_most(1).wait(), Some(1));
    });
}

#[test]
fn the_first_success_wins_or_all_errors_are_told() {
    every(|rt| {
        let tried = Arc::new(AtomicUsize::new(0));
        let one_by_one = || {
            let calls = [Err("a"), Err("b"), Ok(3), Ok(4)].map(|outcome| {
                let tried = tried.clone();
                rt.call_blocking(move || {
                    tried.fetch_add(1, Ordering::SeqCst);
                    outcome
                })
            });
            rt.call_race_ok(calls).at_most(1)
        };
        assert_eq!(in_all_columns(&rt, one_by_one), [Ok(3), Ok(3), Ok(3)]);
        assert_eq!(tried.load(Ordering::SeqCst), 9);
        let none = || rt.call_race_ok(["a", "b"].map(|text| fails(&rt, text)));
        for outcome in in_all_columns(&rt, none) {
            assert_eq!(outcome.unwrap_err(), ["a", "b"]);
        }
        let empty = rt.call_race_ok(Vec::<BoxCall<io::Result<u32>>>::new());
        assert!(empty.wait().unwrap_err().is_empty());
    });
}

#[test]
fn a_panic_of_one_reaches_the_caller_and_drops_the_others() {
    every(|rt| {
        let alive = Arc::new(());
        let calls = || {
            let held = alive.clone();
            let forever = rt.call(async move {
                let _held = held;
                pending::<()>().await;
            });
            let panics = rt.call_blocking(|| panic!("as planned"));
            rt.call_all([forever.boxed(), panics.boxed()])
        };
        let payload = catch_unwind(AssertUnwindSafe(|| calls().wait())).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"as planned"));
        let error = rt.block_on(calls().spawn()).unwrap_err();
        assert_eq!(error.panic_message(), Some("as planned"));
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

#[test]
fn each_is_polled_only_when_it_was_woken() {
    let rt = fourway::default_runtime();
    let wakers = Arc::new(Mutex::new(vec![None; 3]));
    let polls = Arc::new(Mutex::new(vec![0; 3]));
    let (tell, told) = mpsc::channel();
    let calls = (0..3).map(|n| {
        let (wakers, polls, tell) = (wakers.clone(), polls.clone(), tell.clone());
        rt.call(poll_fn(move |cx| {
            polls.lock().unwrap()[n] += 1;
            wakers.lock().unwrap()[n] = Some(cx.waker().clone());
            tell.send(n).unwrap();
            match polls.lock().unwrap()[n] {
                3 => Poll::Ready(n),
                _ => Poll::Pending,
            }
        }))
    });
    let task = rt.call_all(calls).spawn();
    let next = || told.recv_timeout(MUST).unwrap();
    let wake = |n: usize| {
        let waker = wakers.lock().unwrap()[n].take();
        waker.unwrap().wake();
    };
    assert_eq!([next(), next(), next()], [0, 1, 2]);
    for n in [2, 0, 1, 1, 2, 0] {
        wake(n);
        assert_eq!(next(), n);
    }
    assert_eq!(rt.block_on(task).unwrap(), [0, 1, 2]);
    assert_eq!(*polls.lock().unwrap(), [3, 3, 3]);
    // Woken after the end: nothing happens.
    for waker in wakers.lock().unwrap().iter_mut().filter_map(Option::take) {
        waker.wake();
    }
}

#[test]
fn many_that_are_ready_let_others_have_their_turn() {
    every(|rt| {
        let calls = (0..10_000).map(|n| {
            rt.call_with(async move || {
                fourway::yield_now().await;
                n
            })
        });
        let sum = rt.call_all(calls).map(|all| all.into_iter().sum::<u64>());
        assert_eq!(sum.wait(), 49_995_000);
    });
}

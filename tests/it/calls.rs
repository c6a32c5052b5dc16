//! Calls that are made late, boxed and combined: in every column, on every runtime.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{every, in_all_columns};
use fourway::{
    AnyRuntime, JoinError,
    call::{BoxCall, Call},
    context::{self, Context},
    prelude::*,
    std_thread::StdThread,
};

#[test]
fn nothing_happens_before_a_lazy_call_is_used() {
    every(|rt| {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let call = rt.call_with(move || {
            let nth = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move { nth }
        });
        let unused = call.clone();
        let future = call.clone().into_future();
        assert_eq!(made.load(Ordering::SeqCst), 0);
        drop((unused, future));
        assert_eq!(made.load(Ordering::SeqCst), 0);
        assert_eq!(in_all_columns(&rt, || call.clone()), [1, 2, 3]);
        assert_eq!(
            in_all_columns(&rt, || call.clone().map(|n| n * 10)),
            [40, 50, 60]
        );
    });
}

#[test]
fn a_call_can_be_tried_again() {
    every(|rt| {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let call = rt.call_with(async move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err("not yet"),
            n => Ok(n),
        });
        let outcome = (0..5).find_map(|_| call.clone().wait().ok());
        assert_eq!(outcome, Some(2));
    });
}

trait Store {
    fn get(&self, key: usize) -> BoxCall<Option<String>>;
}

struct Memory(AnyRuntime);

impl Store for Memory {
    fn get(&self, key: usize) -> BoxCall<Option<String>> {
        if key == 0 {
            self.0.call(async { None }).boxed()
        } else {
            self.0.call_blocking(move || Some(key.to_string())).boxed()
        }
    }
}

#[test]
fn a_service_can_be_an_object_and_calls_a_vector() {
    every(|rt| {
        let store: Box<dyn Store> = Box::new(Memory(rt.clone()));
        for key in [0, 7] {
            let expected = (key == 7).then(|| String::from("7"));
            for found in in_all_columns(&rt, || store.get(key)) {
                assert_eq!(found, expected);
            }
        }
        let calls = vec![store.get(0), store.get(1), store.get(2).boxed()];
        let tasks: Vec<_> = calls.into_iter().map(Call::spawn).collect();
        let found: Vec<_> = tasks
            .into_iter()
            .map(|task| rt.block_on(task).unwrap().map_or(0, |text| text.len()))
            .collect();
        assert_eq!(found, [0, 1, 1]);
    });
}

#[test]
fn a_boxed_call_keeps_the_kind_of_its_body() {
    every(|rt| {
        let here = thread::current().id();
        let place = || {
            rt.call_blocking(move || (thread::current().id() == here, context::current()))
                .boxed()
        };
        // Waited for, a plain call; otherwise on the pool. Mapped where it has run.
        let [waited, awaited, spawned] = in_all_columns(&rt, place);
        assert_eq!(waited, (true, Context::Sync));
        assert_eq!(awaited, (false, Context::Blocking));
        assert_eq!(spawned, (false, Context::Blocking));
        let mapped = || {
            place()
                .map(|(_, before)| (before, context::current()))
                .map(|(first, second)| [first, second, context::current()])
        };
        let [waited, awaited, spawned] = in_all_columns(&rt, mapped);
        assert_eq!(waited, [Context::Sync; 3]);
        assert_eq!(awaited, [Context::Blocking; 3]);
        assert_eq!(spawned, [Context::Blocking; 3]);
    });
}

#[test]
fn recursion_and_borrowed_arguments() {
    fn sum<R: Runtime>(rt: &R, numbers: &[u32]) -> BoxCall<u32> {
        let (rt, numbers) = (rt.clone(), numbers.to_vec());
        rt.clone()
            .call_with(async move || match &numbers[..] {
                [] => 0,
                [one] => *one,
                many => {
                    let (left, right) = many.split_at(many.len() / 2);
                    let right = sum(&rt, right).spawn();
                    sum(&rt, left).await + right.await.unwrap()
                }
            })
            .boxed()
    }
    every(|rt| {
        let numbers: Vec<u32> = (1..=50).collect();
        assert_eq!(in_all_columns(&rt, || sum(&rt, &numbers)), [1275; 3]);
        // A part of another call.
        let then = || {
            let inner = rt.clone();
            sum(&rt, &[1, 2]).then(move |n| sum(&inner, &[n, n]))
        };
        assert_eq!(in_all_columns(&rt, then), [6; 3]);
    });
}

#[test]
fn results_are_mapped_by_half() {
    every(|rt| {
        let read = |name: &'static str| {
            rt.call_blocking(move || match name {
                "there" => Ok(5),
                _ => Err(io::Error::from(io::ErrorKind::NotFound)),
            })
        };
        let good = || {
            read("there")
                .map_ok(|n| n * 2)
                .map_err(|error| error.kind())
        };
        assert_eq!(in_all_columns(&rt, good), [Ok(10), Ok(10), Ok(10)]);
        let bad = || {
            let call = read("nowhere").boxed();
            call.map_ok(|n| n * 2).map_err(|error| error.kind())
        };
        let not_found = Err(io::ErrorKind::NotFound);
        assert_eq!(in_all_columns(&rt, bad), [not_found; 3]);
    });
}

#[test]
fn a_boxed_call_is_refused_in_async_code_and_passes_panics_on() {
    every(|rt| {
        let inner = rt.clone();
        let refused = rt.block_on(async move {
            let call = inner.call_blocking(|| 1).boxed();
            call.try_wait().unwrap_err().is_nested()
        });
        assert!(refused);
        let panics = rt.call_blocking(|| -> u8 { panic!("as planned") }).boxed();
        let error = rt.block_on(panics.map(u32::from).spawn()).unwrap_err();
        assert_eq!(error.panic_message(), Some("as planned"));
    });
}

#[test]
fn a_call_goes_where_a_future_goes() {
    every(|rt| {
        let double = |n: u32| rt.call(async move { n * 2 });
        let triple = |n: u32| rt.call_blocking(move || n * 3);
        assert_eq!(rt.block_on(double(1)) + rt.block_on(triple(1)), 5);
        assert_eq!(rt.try_block_on(triple(2)).unwrap(), 6);
        let tasks = [rt.spawn(double(5)), rt.spawn(triple(5))];
        let joined: Vec<u32> = tasks
            .into_iter()
            .map(|task| rt.block_on(task).unwrap())
            .collect();
        assert_eq!(joined, [10, 15]);
        rt.spawn_detached(triple(1));
        let limit = std::time::Duration::from_secs(60);
        let deadline = rt.now() + limit;
        assert_eq!(rt.block_on(rt.timeout(limit, double(2))).unwrap(), 4);
        assert_eq!(rt.block_on(rt.timeout_at(deadline, triple(2))).unwrap(), 6);
    });
}

#[test]
fn what_a_call_has_become_tells_its_line_and_name() {
    every(|rt| {
        let calls = || {
            let (again, blocking) = (rt.clone(), rt.call_blocking(|| 1));
            let boxed = rt.call(async { 1 }).boxed();
            let chained = blocking.clone().then(move |n| again.call_ready(n));
            (blocking, boxed, chained)
        };
        let line = line!() + 2;
        let (first, second, third) = calls();
        let (first, second, third) = (first.spawn(), second.spawn(), third.spawn());
        let lines = [first.metadata(), second.metadata(), third.metadata()];
        let lines = lines.map(|of| of.map(|of| (of.location().file(), of.location().line())));
        assert_eq!(lines, [Some((file!(), line)); 3]);
        let (first, second, third) = calls();
        let mapped = second.map(|n| n + 1);
        let (first, second) = (first.spawn_named("one"), mapped.spawn_named("two"));
        let third = third.spawn_named(String::from("three"));
        let names = [first.metadata(), second.metadata(), third.metadata()];
        assert_eq!(
            names.map(|of| of?.name()),
            ["one", "two", "three"].map(Some)
        );
    });
}

/// JO-6, a handle says which task: an error of a part names the task of the whole, and that of a
/// future the line that made it.
#[test]
fn an_error_of_a_part_names_the_whole() {
    every(|rt| {
        let dead = StdThread::builder().worker_threads(1).build().unwrap();
        assert!(dead.shutdown(Duration::MAX).unwrap().is_clean());
        let part = || dead.call_blocking(|| 1);
        let (one, two, three) = (dead.clone(), dead.clone(), dead.clone());
        let second = |dead: StdThread| rt.call(async {}).then(move |()| dead.call_blocking(|| 1));
        let begin = line!();
        let named = [
            second(one).spawn_named("mine").wait(),
            second(two)
                .boxed()
                .map(|n| n + 1)
                .spawn_named("mine")
                .wait(),
            rt.call_all([part()])
                .map(|all| all[0])
                .spawn_named("mine")
                .wait(),
            rt.call(async {})
                .then(move |()| three.call_all([three.call_blocking(|| 1)]))
                .map(|all| all[0])
                .spawn_named("mine")
                .wait(),
        ];
        let lines = begin..line!();
        for joined in named {
            let error = joined.unwrap_err();
            assert_eq!(error.name(), Some("mine"), "{error}");
            let location = error.location().unwrap();
            assert_eq!(location.file(), file!(), "{error}");
            assert!(lines.contains(&location.line()), "{error}");
        }
        let (line, all) = (line!(), rt.call_all([part()]).fallible());
        let error = JoinError::from(rt.block_on(all).unwrap_err());
        let location = error.location().unwrap();
        assert_eq!(
            (location.file(), location.line()),
            (file!(), line),
            "{error}"
        );
        let (line, then) = (line!(), second(dead.clone()).fallible());
        let error = JoinError::from(rt.block_on(then).unwrap_err());
        let location = error.location().unwrap();
        assert_eq!(
            (location.file(), location.line()),
            (file!(), line),
            "{error}"
        );
    });
}

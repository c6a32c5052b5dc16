//! SH-5, calls after the shutdown.

use std::{
    future::{pending, ready},
    io,
    time::Duration,
};

use fourway_core::{
    BlockOn, Runtime,
    call::{Call, Either},
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{caught, drive, must},
};

use super::{clean, is_shutdown};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "SH-5.1", "after the shutdown a call works where it needs no runtime, and says so where it does",
        "one call had four answers: a value, two errors, a panic", one_rule, needs [Shutdown];
        "SH-5.2", "a call that cannot be awaited any more panics, and names the line that awaits",
        "a panic in a poll has the place of the poll", names_the_line, needs [Shutdown];
    ]
}

fn ended<S: Setup>(s: S) -> S::Runtime {
    let rt = s.build();
    rt.call_blocking(|| ()).wait();
    clean(&rt);
    rt
}

fn one_rule<S: Setup>(s: S) {
    let rt = ended(s);
    let blocking = || rt.call_blocking(|| 1);
    let asynchronous = || rt.call(ready(2));
    let chained = || {
        let (again, third) = (rt.clone(), rt.clone());
        asynchronous()
            .then(move |n| again.call_blocking(move || n + 1))
            .then(move |n| third.call(async move { n + 1 }))
    };

    // They need only the calling thread.
    assert_eq!(blocking().wait(), 1);
    assert_eq!(blocking().map(|n| n + 1).boxed().try_wait(), Ok(2));
    assert_eq!(asynchronous().wait(), 2);
    assert_eq!(chained().wait(), 4);
    assert_eq!(drive(asynchronous().into_future()), 2);
    assert_eq!(drive(asynchronous().boxed().into_future()), 2);
    assert_eq!(drive(asynchronous().fallible()).unwrap(), 2);
    assert_eq!(asynchronous().timeout(must()).wait(), Ok(2));
    let never = rt.call(pending::<()>()).timeout(Duration::from_millis(1));
    assert!(never.wait().is_err());
    assert_eq!(rt.call_all([asynchronous(), asynchronous()]).wait(), [2, 2]);

    // These need the runtime: awaited.
    assert!(drive(blocking().fallible()).unwrap_err().is_shutdown());
    assert!(drive(chained().fallible()).unwrap_err().is_shutdown());
    let boxed = blocking().map(|n| n + 1).boxed().map(|n| n + 1);
    assert!(drive(boxed.fallible()).unwrap_err().is_shutdown());
    let either: Either<_, fourway_core::BoxCall<i32>> = Either::Left(blocking());
    assert!(drive(either.fallible()).unwrap_err().is_shutdown());
    let limited = blocking().timeout(must());
    assert!(drive(limited.fallible()).unwrap_err().is_shutdown());
    let read = async { io::Result::Ok(blocking().fallible().await?) };
    assert_eq!(drive(read).unwrap_err().kind(), io::ErrorKind::Other);

    // Spawned.
    assert!(is_shutdown(drive(blocking().spawn())));
    assert!(is_shutdown(drive(asynchronous().spawn())));
    assert!(is_shutdown(drive(chained().spawn())));
    assert!(is_shutdown(drive(blocking().boxed().spawn())));
    assert!(is_shutdown(drive(blocking().timeout(must()).spawn())));
    assert!(is_shutdown(drive(rt.call_race([blocking()]).spawn())));
    // On a runtime that goes on, with a part that belongs to this one.
    let other = s.build();
    let part = blocking().boxed();
    let whole = other.call(ready(())).then(move |()| part);
    assert!(is_shutdown(drive(whole.spawn())));
    clean(&other);

    // Waited for, where a blocking body is not run in place.
    let error = blocking().timeout(must()).try_wait().unwrap_err();
    assert!(error.is_shutdown() && !error.is_nested(), "{error}");
    let error = rt.call_all([blocking(), blocking()]).try_wait();
    assert!(error.unwrap_err().is_shutdown());
}

fn names_the_line<S: Setup>(s: S) {
    let rt = ended(s);
    let here = |line: u32| format!("{}:{line}:", file!());
    let call = rt.call_blocking(|| 1);
    let line = line!() + 1;
    let caught_here = caught(|| drive(async { call.await }));
    assert!(
        caught_here.message.contains("has been shut down"),
        "{caught_here:?}"
    );
    assert!(caught_here.message.contains(&here(line)), "{caught_here:?}");

    let again = rt.clone();
    let call = rt
        .call(ready(()))
        .then(move |()| again.call_blocking(|| 1))
        .boxed();
    let line = line!() + 1;
    let caught_here = caught(|| drive(async { call.await }));
    assert!(caught_here.message.contains(&here(line)), "{caught_here:?}");

    // Given to the runtime's own method, the line is that of the method call.
    let call = rt.call_blocking(|| 1);
    let line = line!() + 1;
    let caught_here = caught(|| rt.block_on(call));
    assert!(caught_here.message.contains(&here(line)), "{caught_here:?}");

    // A wait gives the panic itself.
    let call = rt.call_blocking(|| 1).timeout(must());
    let line = line!() + 1;
    let caught_here = caught(|| call.wait());
    assert!(
        caught_here.message.contains("has been shut down"),
        "{caught_here:?}"
    );
    assert_eq!(
        (caught_here.file.as_str(), caught_here.line),
        (file!(), line)
    );
}

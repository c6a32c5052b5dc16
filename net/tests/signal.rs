//! Signals on every runtime.

use std::{
    io,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use fourway_core::Runtime;
use fourway_net::{
    is_shutdown,
    signal::{SignalKind, Signals, ctrl_c, termination},
};
use fourway_testing::{any, on_every_runtime, poll_once, run};
use futures_util::{StreamExt, future::join_all};

on_every_runtime! {
    each_of_several_is_told
    kinds_are_told_apart
    a_kind_that_is_named_twice_is_given_once
    a_cancelled_wait_loses_none
    as_futures
    as_a_stream
    what_cannot_be_waited_for
    after_the_shutdown
    those_who_wait_are_told
}

/// Signals belong to the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn raise(kind: SignalKind) {
    signal_hook::low_level::raise(kind.as_raw()).unwrap();
}

fn each_of_several_is_told<R: Runtime>(rt: R) {
    let _alone = alone();
    run(&rt, async {
        let waiting = (0..5).map(|_| {
            let mut signals = Signals::new(&rt, [SignalKind::USER1]).unwrap();
            rt.spawn(async move { signals.recv().await })
        });
        let waiting: Vec<_> = waiting.collect();
        raise(SignalKind::USER1);
        for told in join_all(waiting).await {
            assert_eq!(told.unwrap().unwrap(), SignalKind::USER1);
        }
    });
}

fn kinds_are_told_apart<R: Runtime>(rt: R) {
    let _alone = alone();
    run(&rt, async {
        let kinds = [SignalKind::USER1, SignalKind::USER2, SignalKind::HANGUP];
        let mut signals = Signals::new(&rt, kinds).unwrap();
        for _ in 0..3 {
            raise(SignalKind::USER2);
            raise(SignalKind::HANGUP);
        }
        let mut told = [
            signals.recv().await.unwrap().to_string(),
            signals.recv().await.unwrap().to_string(),
        ];
        told.sort();
        assert_eq!(told, ["SIGHUP", "SIGUSR2"]);
        assert!(poll_once(pin!(signals.recv())).await.is_pending());
    });
}

fn a_kind_that_is_named_twice_is_given_once<R: Runtime>(rt: R) {
    let _alone = alone();
    run(&rt, async {
        let kinds = [SignalKind::USER1, SignalKind::USER1, SignalKind::USER2];
        let mut signals = Signals::new(&rt, kinds).unwrap();
        raise(SignalKind::USER1);
        assert_eq!(signals.recv().await.unwrap(), SignalKind::USER1);
        // It would be given before one that has arrived later.
        raise(SignalKind::USER2);
        assert_eq!(signals.recv().await.unwrap(), SignalKind::USER2);
        assert!(poll_once(pin!(signals.recv())).await.is_pending());
    });
}

fn a_cancelled_wait_loses_none<R: Runtime>(rt: R) {
    let _alone = alone();
    run(&rt, async {
        let mut signals = Signals::new(&rt, [SignalKind::USER1]).unwrap();
        for _ in 0..3 {
            assert!(poll_once(pin!(signals.recv())).await.is_pending());
            raise(SignalKind::USER1);
            assert_eq!(signals.recv().await.unwrap(), SignalKind::USER1);
        }
    });
}

fn as_futures<R: Runtime>(rt: R) {
    let _alone = alone();
    run(&rt, async {
        let (first, second) = (ctrl_c(&rt), ctrl_c(&rt));
        let end = termination(&rt);
        raise(SignalKind::INTERRUPT);
        first.await.unwrap();
        second.await.unwrap();
        assert_eq!(end.await.unwrap(), SignalKind::INTERRUPT);
        let end = termination(&rt);
        raise(SignalKind::TERMINATE);
        assert_eq!(end.await.unwrap(), SignalKind::TERMINATE);
    });
}

fn as_a_stream<R: Runtime>(rt: R) {
    let _alone = alone();
    run(&rt, async {
        let mut signals = Signals::new(&rt, [SignalKind::WINDOW_CHANGE]).unwrap();
        for _ in 0..3 {
            raise(SignalKind::WINDOW_CHANGE);
            let told = signals.next().await.unwrap().unwrap();
            assert_eq!(told, SignalKind::WINDOW_CHANGE);
        }
    });
}

fn what_cannot_be_waited_for<R: Runtime>(rt: R) {
    for number in [9, 19, 11] {
        let error = Signals::new(&rt, [SignalKind::from_raw(number)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    Signals::new(&rt, [SignalKind::from_raw(1000)]).unwrap_err();
    let error = Signals::new(&rt, []).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

fn refused<T>(result: io::Result<T>) {
    let error = result.err().expect("it is refused");
    assert!(is_shutdown(&error), "{error}");
}

fn end<R: Runtime>(rt: &R) {
    let report = rt.shutdown(Duration::from_secs(60)).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn after_the_shutdown<R: Runtime>(rt: R) {
    let mut signals = Signals::new(&rt, [SignalKind::USER1]).unwrap();
    end(&rt);
    run(&any(), async {
        refused(signals.recv().await);
        refused(signals.next().await.unwrap());
        refused(Signals::new(&rt, [SignalKind::USER1]));
        refused(ctrl_c(&rt).await);
    });
}

fn those_who_wait_are_told<R: Runtime>(rt: R) {
    let mut signals = Signals::new(&rt, [SignalKind::USER2]).unwrap();
    let _alone = alone();
    let ender = rt.clone();
    let gate = fourway_testing::Gate::default();
    let waiting = gate.clone();
    let ending = thread::spawn(move || {
        gate.wait();
        end(&ender);
    });
    run(&any(), async {
        // Signals of an earlier test.
        while poll_once(pin!(signals.recv())).await.is_ready() {}
        let mut recv = pin!(signals.recv());
        assert!(poll_once(recv.as_mut()).await.is_pending());
        waiting.open();
        refused(recv.await);
    });
    ending.join().unwrap();
}

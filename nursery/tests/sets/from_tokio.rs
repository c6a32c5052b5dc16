//! Code that is written for Tokio and tokio-util, compiled with their types and with ours: each of
//! their methods is called in it. What it is given from outside, such as a handle, differs.

use std::{
    collections::hash_map::RandomState,
    future::{pending, ready},
    hash::BuildHasher,
    panic::{RefUnwindSafe, UnwindSafe},
    rc::Rc,
};

use fourway_core::{AnyRuntime, BlockOn, local};

/// Code that is written for Tokio's set.
macro_rules! written_for_tokio {
    ($name:ident, $import:path) => {
        async fn $name() -> Vec<u32> {
            use $import;
            let mut set: JoinSet<u32> = (0..3).map(|i| async move { i }).collect();
            set.spawn(async { 10 });
            set.spawn_blocking(|| 20);
            let mut outputs = vec![set.join_next().await.unwrap().unwrap()];
            while let Some(result) = set.join_next_with_id().await {
                outputs.push(result.unwrap().1);
            }
            assert!(set.is_empty() && set.try_join_next().is_none());
            set.spawn(async { std::future::pending().await });
            set.abort_all();
            assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
            set.spawn(async { 30 });
            set.detach_all();
            set.spawn(async { 40 });
            set.shutdown().await;
            set.spawn(async { 50 });
            outputs.extend(set.join_all().await);
            outputs.sort_unstable();
            outputs
        }
    };
}
written_for_tokio!(with_tokios, tokio::task::JoinSet);
written_for_tokio!(with_ours, fourway_nursery::JoinSet);

#[test]
fn what_is_written_for_tokios_set_needs_another_import() {
    let rt = fourway_tokio::Tokio::builder().build().unwrap();
    let outputs = [0, 1, 2, 10, 20, 50];
    assert_eq!(rt.block_on(with_tokios()), outputs);
    assert_eq!(rt.block_on(with_ours()), outputs);
}

/// Code that is written for tokio-util's tracker.
macro_rules! written_for_tokio_util {
    ($name:ident, $local:ident, $import:path, $handle:expr, $set:ty) => {
        async fn $name() -> Vec<usize> {
            use module::{TaskTracker, TaskTrackerToken, TrackedFuture};
            use $import as module;
            let tracker = TaskTracker::new();
            assert!(tracker.is_empty() && !tracker.is_closed());
            let mut outputs = vec![tracker.spawn(async { 1 }).await.unwrap()];
            outputs.push(tracker.spawn_on(async { 2 }, &$handle).await.unwrap());
            outputs.push(tracker.spawn_blocking(|| 3).await.unwrap());
            let closure = tracker.spawn_blocking_on(|| 4, &$handle);
            outputs.push(closure.await.unwrap());

            let tracked: TrackedFuture<_> = tracker.track_future(ready(5));
            assert_eq!(tracker.len(), 1);
            outputs.push(tracked.await);

            let endless = tracker.spawn(pending::<()>());
            assert!(!endless.is_finished());
            endless.abort();
            assert!(endless.await.unwrap_err().is_cancelled());
            let endless = tracker.spawn(pending::<()>());
            endless.abort_handle().abort();
            assert!(endless.await.unwrap_err().is_cancelled());

            let token: TaskTrackerToken = tracker.token();
            let second = token.clone();
            assert!(TaskTracker::ptr_eq(&tracker.clone(), token.task_tracker()));
            assert!(!TaskTracker::ptr_eq(&tracker, &TaskTracker::default()));
            outputs.push(tracker.len());
            drop((token, second));

            assert!(tracker.close() && !tracker.close() && tracker.is_closed());
            assert!(tracker.reopen() && !tracker.reopen());
            tracker.spawn(async {});
            tracker.close();
            tracker.wait().await;
            assert!(tracker.is_empty());
            outputs
        }

        async fn $local(local: &$set) -> Vec<usize> {
            use module::TaskTracker;
            use $import as module;
            let tracker = TaskTracker::new();
            let shared = Rc::new(1);
            let here = shared.clone();
            let mut outputs = vec![tracker.spawn_local(async move { *here }).await.unwrap()];
            let joined = tracker.spawn_local_on(async move { *shared + 1 }, local);
            outputs.push(joined.await.unwrap());
            let endless = tracker.spawn_local(pending::<()>());
            assert!(!endless.is_finished());
            endless.abort();
            assert!(endless.await.unwrap_err().is_cancelled());
            let endless = tracker.spawn_local(pending::<()>());
            endless.abort_handle().abort();
            assert!(endless.await.unwrap_err().is_cancelled());
            // The handle is dropped, and the task goes on.
            let (send, receive) = std::sync::mpsc::channel();
            tracker.spawn_local(async move { send.send(3).unwrap() });
            tracker.close();
            tracker.wait().await;
            outputs.push(receive.recv().unwrap());
            outputs
        }
    };
}
written_for_tokio_util!(
    with_tokio_utils,
    locally_with_tokio_utils,
    tokio_util::task::task_tracker,
    tokio::runtime::Handle::current(),
    tokio::task::LocalSet
);
written_for_tokio_util!(
    with_our_tracker,
    locally_with_our_tracker,
    fourway_nursery,
    AnyRuntime::current().unwrap(),
    local::Local
);

#[test]
fn what_is_written_for_tokio_utils_tracker_needs_another_import() {
    let rt = fourway_tokio::Tokio::builder().build().unwrap();
    let outputs = [1, 2, 3, 4, 5, 2];
    assert_eq!(rt.block_on(with_tokio_utils()), outputs);
    assert_eq!(rt.block_on(with_our_tracker()), outputs);

    let outputs = [1, 2, 3];
    let set = tokio::task::LocalSet::new();
    let locally = set.run_until(locally_with_tokio_utils(&set));
    assert_eq!(rt.block_on(locally), outputs);
    let locally = local::block_on(&rt, async |set| locally_with_our_tracker(&set).await);
    assert_eq!(locally.unwrap(), outputs);
}

/// Code that is written for tokio-util's token. What differs, as `cancel` lists, is made the same by
/// `$ok`, and by not looking at what `cancelled` gives.
macro_rules! written_for_tokio_utils_token {
    ($name:ident, $import:path, $ok:expr) => {
        async fn $name() -> Vec<bool> {
            use module::{CancellationToken, DropGuard, DropGuardRef};
            use $import as module;
            fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>(_: &T) {}

            let token = CancellationToken::new();
            is_unwind_safe(&token);
            let child = token.child_token();
            assert!(token == token.clone() && token != child);
            let hashes = RandomState::new();
            assert!(hashes.hash_one(&token) == hashes.hash_one(token.clone()));

            let ran = token.run_until_cancelled(ready(())).await;
            let mut seen = vec![$ok(ran).is_some()];
            let ran = token.clone().run_until_cancelled_owned(ready(())).await;
            seen.push($ok(ran).is_some());

            let guard: DropGuard = token.clone().drop_guard();
            assert!(*guard.token() == token);
            assert!(guard.disarm() == token);
            let guard: DropGuardRef<'_> = token.drop_guard_ref();
            assert!(*guard.token() == token);
            assert!(*guard.disarm() == token);
            seen.push(token.is_cancelled());

            drop(child.drop_guard_ref());
            child.cancelled().await;
            seen.extend([child.is_cancelled(), token.is_cancelled()]);
            token.cancel();
            token.cancelled().await;
            token.clone().cancelled_owned().await;
            let ran = token.run_until_cancelled(pending::<()>()).await;
            seen.push($ok(ran).is_none());
            let ran = token.run_until_cancelled_owned(pending::<()>()).await;
            seen.push($ok(ran).is_none());

            let token = CancellationToken::default();
            drop(token.clone().drop_guard());
            seen.push(token.is_cancelled());
            seen
        }
    };
}
written_for_tokio_utils_token!(
    with_tokio_utils_token,
    tokio_util::sync,
    std::convert::identity
);
written_for_tokio_utils_token!(with_our_token, fourway_core::cancel, Result::ok);

#[test]
fn what_is_written_for_tokio_utils_token_needs_another_import() {
    let rt = fourway_tokio::Tokio::builder().build().unwrap();
    let seen = [true, true, false, true, false, true, true, true];
    assert_eq!(rt.block_on(with_tokio_utils_token()), seen);
    assert_eq!(rt.block_on(with_our_token()), seen);
}

//! All columns of the matrix, on all runtimes.

use std::time::Duration;

use fourway::{AnyRuntime, prelude::*};
use kv::{Error, Store};

use crate::file;

/// On each runtime, and on the current one.
fn on_each(test: impl Fn(AnyRuntime, Store)) {
    let named = |name: &&str| fourway::runtime_named(name).unwrap();
    let ambient = AnyRuntime::new(fourway::Ambient);
    for runtime in fourway::compiled_in().iter().map(named).chain([ambient]) {
        let folder = tempfile::tempdir().unwrap();
        test(runtime.clone(), Store::new(runtime, file(&folder)));
    }
}

#[test]
fn sync_async_and_parallel_callers_get_the_same() {
    on_each(|runtime, store| {
        assert_eq!(store.get("a").wait().unwrap(), None);
        store.put("a", "1").wait().unwrap();
        runtime.block_on(async {
            store.put("b", "2").await.unwrap();
            assert_eq!(store.get("a").await.unwrap().as_deref(), Some("1"));
            let task = store.put("c", "3").spawn();
            task.await.unwrap().unwrap();
        });
        assert_eq!(store.keys("").wait().unwrap(), ["a", "b", "c"]);
        assert!(store.delete("b").wait().unwrap());
        assert!(!store.delete("b").wait().unwrap());
        assert_eq!(store.keys("b").wait().unwrap(), [""; 0]);
        let odd = ["", "z", "z\0", "z\0a", "zé", "zéa", "z%", "z_"];
        for key in odd {
            store.put(key, "odd").wait().unwrap();
        }
        for prefix in ["", "z\0", "z\0a", "z\0b", "zé", "z%", "z", "z\0a\0"] {
            let all = odd.iter().chain(&["a", "c"]);
            let mut expected: Vec<_> = all.filter(|key| key.starts_with(prefix)).collect();
            expected.sort();
            assert!(
                store.keys(prefix).wait().unwrap().iter().eq(expected),
                "{prefix:?}"
            );
        }
        // An async body, called from sync code, from async code and in parallel.
        let keys: Vec<_> = ["c", "b", "a"].map(String::from).into();
        let expected = [Some("3"), None, Some("1")].map(|value| value.map(String::from));
        assert_eq!(store.get_all(keys.clone()).wait().unwrap(), expected);
        let values = runtime.block_on(async { store.get_all(keys.clone()).await });
        assert_eq!(values.unwrap(), expected);
        let values = runtime.block_on(store.get_all(keys).spawn());
        assert_eq!(values.unwrap().unwrap(), expected);
    });
}

fn next(value: Option<String>) -> Option<String> {
    let number: u32 = value.map_or(0, |text| text.parse().unwrap());
    Some((number + 1).to_string())
}

#[test]
fn updates_from_everywhere_are_all_there() {
    on_each(|runtime, store| {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let store = store.clone();
                    runtime.spawn(async move {
                        for _ in 0..5 {
                            store.update("n", next).await?;
                        }
                        Ok::<_, Error>(())
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        });
        assert_eq!(store.get("n").wait().unwrap().as_deref(), Some("40"));
    });
}

#[test]
fn a_panic_in_an_update_changes_nothing_and_reaches_the_caller() {
    on_each(|runtime, store| {
        store.put("n", "1").wait().unwrap();
        let broken = || store.update("n", |_| panic!("no number"));
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| broken().wait()));
        assert_eq!(waited.unwrap_err().downcast_ref(), Some(&"no number"));
        let error = runtime.block_on(broken().spawn()).unwrap_err();
        assert!(error.is_panic());
        assert_eq!(store.get("n").wait().unwrap().as_deref(), Some("1"));
    });
}

#[test]
fn a_claim_waits_for_its_turn() {
    on_each(|runtime, store| {
        let long = Duration::from_secs(600);
        assert!(store.claim("lock", "first", long).wait().unwrap());
        assert!(
            !store
                .claim("lock", "second", Duration::ZERO)
                .wait()
                .unwrap()
        );
        let second = store.claim("lock", "second", long).spawn();
        store.delete("lock").wait().unwrap();
        assert!(runtime.block_on(second).unwrap().unwrap());
        assert_eq!(store.get("lock").wait().unwrap().as_deref(), Some("second"));
    });
}

#[test]
fn a_claim_may_wait_for_ever() {
    on_each(|runtime, store| {
        let ever = Duration::MAX;
        assert!(store.claim("lock", "first", ever).wait().unwrap());
        let second = store.claim("lock", "second", ever).spawn();
        store.delete("lock").wait().unwrap();
        assert!(runtime.block_on(second).unwrap().unwrap());
    });
}

#[test]
fn what_the_database_says_is_an_error_with_its_path() {
    on_each(|runtime, _| {
        let store = Store::new(runtime.clone(), "no/such/folder/store.db");
        let error = store.get("a").wait().unwrap_err();
        assert!(
            error.to_string().contains("no/such/folder/store.db"),
            "{error}"
        );
        assert!(std::error::Error::source(&error).is_some() && !error.is_busy());
        let error = runtime.block_on(async { store.get_all(vec!["a".into()]).await });
        assert!(error.is_err());
    });
}

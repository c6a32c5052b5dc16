//! Two tests, each with its own Tokio runtime that ends with it, and one static for both.

use std::{fs, path::Path, sync::LazyLock};

use fourway::{Ambient, prelude::*};
use kv::Store;

static STORE: LazyLock<Store<Ambient>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kv-shared-static");
    // Removes the files of an earlier run.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    Store::new(Ambient, folder.join("store.db"))
});

async fn counts_up(key: &str) {
    for count in 1..=3 {
        STORE.put(key, &count.to_string()).await.unwrap();
        let task = STORE.get(key).spawn();
        let value = task.await.unwrap().unwrap();
        assert_eq!(value, Some(count.to_string()));
    }
    let values = STORE.get_all(vec![key.to_owned()]).await.unwrap();
    assert_eq!(values, [Some(String::from("3"))]);
}

#[tokio::test]
async fn one() {
    counts_up("one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn other() {
    counts_up("other").await;
}

/// In either order: one Tokio runtime ends, and the next one starts.
#[test]
fn one_after_the_other() {
    for key in ["first", "second"] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(counts_up(key));
    }
    // It also works without Tokio.
    STORE.put("third", "1").wait().unwrap();
}

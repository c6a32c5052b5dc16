//! The library as it is, under many schedules, with callers that are cancelled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Call, Spawner, Task, Timer};
use fourway_sim::{Check, Faults, Sim};
use kv::Store;

use crate::file;

const MS: Duration = Duration::from_millis(1);

/// The holder of the key.
struct Inside(Arc<AtomicU32>);

impl Inside {
    fn enter(count: &Arc<AtomicU32>) -> Self {
        assert_eq!(count.fetch_add(1, Relaxed), 0, "two have claimed one key");
        Self(count.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn next(value: Option<String>) -> Option<String> {
    let number: u32 = value.map_or(0, |text| text.parse().unwrap());
    Some((number + 1).to_string())
}

fn callers(rt: Sim) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(rt.clone(), file(&folder));
    let (begun, done) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let inside = Arc::default();
    let tasks: Vec<_> = (0..2)
        .map(|n| {
            let (store, begun, done) = (store.clone(), begun.clone(), done.clone());
            let (inner, inside) = (rt.clone(), Arc::clone(&inside));
            rt.spawn_named("caller", async move {
                for _ in 0..2 {
                    begun.fetch_add(1, Relaxed);
                    store.update("n", next).await.unwrap();
                    done.fetch_add(1, Relaxed);
                }
                let name = n.to_string();
                if store.claim("lock", &name, 50 * MS).await.unwrap() {
                    let inside = Inside::enter(&inside);
                    inner.sleep(MS).await;
                    assert_eq!(store.get("lock").await.unwrap(), Some(name));
                    drop(inside);
                    assert!(store.delete("lock").await.unwrap());
                }
            })
        })
        .collect();
    // Sync callers beside them, which are not cancelled.
    store.put("s", "1").wait().unwrap();
    let both = store.get_all(vec!["s".into(), "nowhere".into()]);
    assert_eq!(both.wait().unwrap(), [Some("1".into()), None]);
    for task in tasks {
        if let Err(error) = task.wait() {
            assert!(error.is_cancelled(), "{error}");
        }
    }
    // An update that had begun when its caller was cancelled may still be running: time passes only
    // when no task can run.
    rt.block_on(rt.sleep(MS));
    let number = store.get("n").wait().unwrap();
    let number: u32 = number.map_or(0, |text| text.parse().unwrap());
    assert!(number >= done.load(Relaxed) && number <= begun.load(Relaxed));
}

#[test]
fn updates_are_made_once_and_one_has_the_claim_whoever_is_cancelled() {
    let faults = Faults::none().cancel(50, ["caller"]);
    let builder = Sim::builder().faults(faults).offload_limit(2);
    Check::default().seeds(1000).with(builder).run(callers);
}

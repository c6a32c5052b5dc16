//! As it was written first.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fourway_core::{Runtime, Task};

const MS: Duration = Duration::from_millis(1);

/// Connections that all callers share.
#[derive(Clone)]
pub(crate) struct Connections<R> {
    rt: R,
    pub(crate) free: Arc<Mutex<Vec<u32>>>,
}

impl<R: Runtime> Connections<R> {
    pub(crate) fn new(rt: R) -> Self {
        let free = Arc::new(Mutex::new(vec![1, 2]));
        Self { rt, free }
    }

    pub(crate) async fn query(&self) -> Option<u32> {
        let connection = self.free.lock().unwrap().pop()?;
        // May block, and so goes to the pool.
        let answer = self.rt.offload(move || connection * 10).await.ok();
        self.free.lock().unwrap().push(connection);
        answer
    }
}

include!("all_come_back.rs");

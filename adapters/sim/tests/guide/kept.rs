//! Mended.

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

/// Gives the connection back, also if whoever asked does not wait for the answer.
struct Taken(Arc<Mutex<Vec<u32>>>, u32);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

impl<R: Runtime> Connections<R> {
    pub(crate) fn new(rt: R) -> Self {
        let free = Arc::new(Mutex::new(vec![1, 2]));
        Self { rt, free }
    }

    pub(crate) async fn query(&self) -> Option<u32> {
        let connection = self.free.lock().unwrap().pop()?;
        let taken = Taken(self.free.clone(), connection);
        // With the closure, which may run for longer than anybody waits.
        self.rt.offload(move || taken.1 * 10).await.ok()
    }
}

include!("all_come_back.rs");

//! The stand-in for the system's poller in models: [`Model`].

use std::{sync::Arc, time::Duration};

use crate::{
    poller::{Poller, Ready},
    reactor::{Listener, Readiness},
    sync::{Condvar, Mutex, thread},
};

/// A condition variable, and the events since it was last asked.
#[derive(Clone, Default)]
pub(crate) struct Model(Arc<(Mutex<Has>, Condvar)>);

#[derive(Default)]
struct Has {
    interrupted: bool,
    events: Vec<Arc<dyn Listener>>,
}

impl Model {
    /// Something is ready.
    pub(crate) fn event(&self, listener: Arc<dyn Listener>) {
        self.0.0.lock().unwrap().events.push(listener);
        self.0.1.notify_one();
    }
}

impl Poller for Model {
    fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        let (has, changed) = &*self.0;
        let mut has = has.lock().unwrap();
        if timeout.is_none() {
            while !has.interrupted && has.events.is_empty() {
                has = changed.wait(has).unwrap();
            }
        } else if timeout != Some(Duration::ZERO) && !has.interrupted && has.events.is_empty() {
            drop(has);
            thread::park_timeout(Duration::from_millis(1));
            has = self.0.0.lock().unwrap();
        }
        has.interrupted = false;
        // One at a time, so that there is something left for the next.
        if let Some(listener) = has.events.pop() {
            ready.push(Ready {
                listener,
                readiness: Readiness::default(),
            });
        }
    }

    fn interrupt(&self) {
        self.0.0.lock().unwrap().interrupted = true;
        self.0.1.notify_one();
    }
}

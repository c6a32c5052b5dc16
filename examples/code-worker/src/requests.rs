//! Limits the open requests of a client: [`Requests`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{error::CellError, limits::Limits, protocol::Request};

/// The most bytes of code that they hold while they wait.
const MOST: usize = 16 * 1024 * 1024;

/// A client's requests that wait for their final reply.
#[derive(Debug, Default)]
pub(crate) struct Requests(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    bytes: usize,
}

impl Requests {
    /// Counts a request until the returned value is dropped. There is always room for requests that
    /// are answered at once.
    pub(crate) fn open(&self, request: &Request, limits: &Limits) -> Result<Open, CellError> {
        let bytes = match request {
            Request::Execute { code, .. } | Request::Complete { code, .. } => code.len(),
            Request::Inspect { name, .. } => name.len(),
            _ => {
                return Ok(Open {
                    requests: self.0.clone(),
                    count: 0,
                    bytes: 0,
                });
            }
        };
        let mut state = lock(&self.0);
        let what = if state.count >= limits.requests {
            format!("{} requests", limits.requests)
        } else if state.bytes + bytes > MOST {
            format!("requests with {MOST} bytes of code")
        } else {
            state.count += 1;
            state.bytes += bytes;
            drop(state);
            return Ok(Open {
                requests: self.0.clone(),
                count: 1,
                bytes,
            });
        };
        let message = format!("{what} wait for their replies already; wait for some of them");
        Err(CellError::new("Refused", message))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No code panics under this lock.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that waits for its reply.
#[derive(Debug)]
pub(crate) struct Open {
    requests: Arc<Mutex<State>>,
    count: usize,
    bytes: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = lock(&self.requests);
        state.count -= self.count;
        state.bytes -= self.bytes;
    }
}

//! Limits the open requests of a client: [`Requests`].

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use crate::{error::CellError, limits::Limits, protocol::Request};

/// The most bytes of code that they hold while they wait.
const MOST: usize = 16 * 1024 * 1024;

/// A client's requests that wait for their final reply.
#[derive(Debug, Default)]
pub(crate) struct Requests(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    open: usize,
    // Those of them that are limited.
    count: usize,
    bytes: usize,
    // Waits until there are none.
    idle: Option<Waker>,
}

impl Requests {
    /// Waits until none is open. For one waiter at a time.
    pub(crate) fn idle(&self) -> impl Future<Output = ()> + Send + use<> {
        let requests = self.0.clone();
        poll_fn(move |cx| {
            let waker = cx.waker().clone();
            let mut state = lock(&requests);
            if state.open == 0 {
                return Poll::Ready(());
            }
            let before = state.idle.replace(waker);
            drop(state);
            drop(before);
            Poll::Pending
        })
    }

    /// Counts a request until the returned value is dropped, which is after its reply. There is always
    /// room for requests that are answered at once.
    pub(crate) fn open(&self, request: &Request, limits: &Limits) -> Result<Open, CellError> {
        let (count, bytes) = match request {
            Request::Execute { code, .. } | Request::Complete { code, .. } => (1, code.len()),
            Request::Inspect { name, .. } => (1, name.len()),
            _ => (0, 0),
        };
        let mut state = lock(&self.0);
        let what = if count > 0 && state.count >= limits.requests {
            format!("{} requests", limits.requests)
        } else if state.bytes + bytes > MOST {
            format!("requests with {MOST} bytes of code")
        } else {
            state.open += 1;
            state.count += count;
            state.bytes += bytes;
            drop(state);
            return Ok(Open {
                requests: self.0.clone(),
                count,
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
        state.open -= 1;
        state.count -= self.count;
        state.bytes -= self.bytes;
        let is_idle = state.open == 0;
        let waker = state.idle.take_if(|_| is_idle);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Context};

    use super::*;

    #[test]
    fn each_is_open_until_its_reply_also_the_one_for_the_end() {
        let limits = Limits::default();
        for request in [Request::Shutdown, Request::Status] {
            let requests = Requests::default();
            let open = requests.open(&request, &limits).unwrap();
            let mut idle = pin!(requests.idle());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(idle.as_mut().poll(&mut cx).is_pending(), "{request:?}");
            drop(open);
            assert!(idle.as_mut().poll(&mut cx).is_ready(), "{request:?}");
        }
    }
}

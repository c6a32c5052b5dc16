//! Sockets on the reactor of a std-thread runtime, which its own workers poll.
//!
//! It is edge-triggered: it reports each change once. A socket remembers the report until an
//! operation gives "would block".

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use fourway_std_thread::reactor::{Listener, Reactor, Readiness, Watched};

use super::{life::Told, waiting::Waiting};
use crate::{
    error::Refused,
    io::{Direction, Socket},
};

/// A socket that a std-thread runtime watches.
#[derive(Debug)]
pub(crate) struct Registered<S: Socket> {
    socket: Watched<S>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    is_over: AtomicBool,
    /// For each direction: how often readiness was reported, in units of [`ONCE`], and the bits
    /// below.
    ready: [AtomicUsize; 2],
    waiting: Waiting,
}

/// No operation has given "would block" since.
const READY: usize = 1;
/// There is an end or an error, which will not be reported again.
const CLOSED: usize = 2;
const ONCE: usize = 4;

impl Listener for State {
    fn ready(&self, it: Readiness) {
        let directions = [
            (Direction::Read, it.readable, it.read_closed),
            (Direction::Write, it.writable, it.write_closed),
        ];
        for (direction, is_ready, is_closed) in directions {
            if is_ready {
                let bits = if is_closed { READY | CLOSED } else { READY };
                // `clear` compares the count that it has seen. Relaxed: the lock on the wakers,
                // taken next, orders this before the look that follows the lock.
                let next = |seen: usize| Some((seen | bits).wrapping_add(ONCE));
                let ready = &self.ready[direction as usize];
                let _ = ready.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
                self.waiting.wake(direction);
            }
        }
    }

    fn closed(&self) {
        // Relaxed: as above.
        self.is_over.store(true, Ordering::Relaxed);
        self.waiting.wake_all();
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(Refused::ShutDown.error());
        }
        Ok(())
    }

    /// `Some` if it may be ready, with the value to clear if it is not.
    fn seen(&self, direction: Direction) -> Option<usize> {
        let seen = self.ready[direction as usize].load(Ordering::Relaxed);
        (seen & READY > 0).then_some(seen)
    }

    /// Clears the readiness after "would block", unless a new report came since.
    fn clear(&self, direction: Direction, seen: usize) {
        let ready = &self.ready[direction as usize];
        let _ = ready.compare_exchange(seen, seen & !READY, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl<S: Socket> Registered<S> {
    pub(crate) fn new(reactor: &Reactor, socket: S) -> io::Result<Self> {
        let state = Arc::new(State {
            is_over: AtomicBool::new(false),
            // Ready at first, so that the first operation finds out.
            ready: [const { AtomicUsize::new(READY) }; 2],
            waiting: Waiting::default(),
        });
        match reactor.watch(socket, state.clone()) {
            Ok(socket) => Ok(Self { socket, state }),
            Err(_) if reactor.is_closed() => Err(Refused::ShutDown.error()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn socket(&self) -> &S {
        self.socket.get_ref()
    }

    pub(crate) fn into_socket(self) -> io::Result<S> {
        self.socket.into_inner()
    }

    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut op: impl FnMut(&S) -> io::Result<T>,
        mut is_drained: impl FnMut(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        let waiting = &self.state.waiting;
        self.poll_with(cx, direction, &mut op, &mut is_drained, &mut |cx| {
            waiting.set(direction, cx.waker())
        })
    }

    /// As `poll`, for any number of tasks at a time.
    pub(crate) async fn run<T>(
        &self,
        direction: Direction,
        mut op: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut entry = self.state.waiting.entry(direction);
        poll_fn(|cx| {
            self.poll_with(cx, direction, &mut op, &mut |_| false, &mut |cx| {
                entry.set(cx.waker());
            })
        })
        .await
    }

    fn poll_with<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        op: &mut impl FnMut(&S) -> io::Result<T>,
        is_drained: &mut impl FnMut(&T) -> bool,
        leave_waker: &mut impl FnMut(&mut Context<'_>),
    ) -> Poll<io::Result<T>> {
        let state = &*self.state;
        loop {
            state.check()?;
            let Some(seen) = state.seen(direction) else {
                state.waiting.budget.rest();
                // First the waker, under the lock, then another look.
                leave_waker(cx);
                state.check()?;
                if state.seen(direction).is_none() {
                    return Poll::Pending;
                }
                continue;
            };
            if state.waiting.budget.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match op(self.socket()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.clear(direction, seen);
                }
                Ok(output) => {
                    // Less than requested: there is no more, and the next change will be reported.
                    // This saves the call that would give "would block".
                    if seen & CLOSED == 0 && is_drained(&output) {
                        state.clear(direction, seen);
                    }
                    return Poll::Ready(Ok(output));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

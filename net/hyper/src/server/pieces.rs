//! The pieces of bodies that the peer has not taken: [`Paced`], [`Piece`], [`Unsent`].

use std::{
    future::Future,
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use fourway_core::implement::wake;
use hyper::{
    Response,
    body::{Body, Buf, Bytes, Frame, SizeHint},
};
use pin_project_lite::pin_project;

use super::{
    connections::One,
    streams::{Streams, watch},
};

/// What a stream's peer has not taken yet.
pub(super) struct Unsent {
    pub(super) streams: Arc<Streams>,
    state: Mutex<State>,
    was_told: AtomicBool,
}

#[derive(Default)]
struct State {
    pieces: usize,
    progress: Progress,
    /// Called when no piece is left.
    waker: Option<Waker>,
}

/// How far a stream has come.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// Bytes.
    pub(super) sent: u64,
    /// How often its last piece was sent, so that none was left.
    pub(super) caught_up: u64,
}

impl Unsent {
    pub(super) fn new(streams: Arc<Streams>) -> Self {
        Self {
            streams,
            state: Mutex::default(),
            was_told: AtomicBool::new(false),
        }
    }

    /// How far it has come, if there are pieces left; then `waker` is woken after the last one.
    pub(super) fn progress(&self, waker: Option<&Waker>) -> Option<Progress> {
        // Waker::clone is user code, which does not run under the lock.
        let waker = waker.cloned();
        let mut state = self.lock();
        if state.pieces == 0 {
            return None;
        }
        let progress = state.progress;
        let before = std::mem::replace(&mut state.waker, waker);
        drop(state);
        drop(before);
        Some(progress)
    }

    /// Was it asked before?
    pub(super) fn was_told(&self) -> bool {
        // Relaxed: only the stream's task asks.
        self.was_told.swap(true, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, so it cannot be poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pin_project! {
    /// A service's future, with a body whose pieces are watched.
    pub(super) struct Answering<F> {
        #[pin]
        pub(super) future: F,
        // `None` for HTTP/1, whose limit is the socket's.
        pub(super) streams: Option<Arc<Streams>>,
        // Dropped after the future: the connection counts until its streams are destroyed. `None`
        // for HTTP/1, whose connection owns this.
        pub(super) one: Option<Arc<One>>,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Paced<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let unsent = this.streams.take().map(|it| Arc::new(Unsent::new(it)));
        if let Some(unsent) = unsent.clone() {
            watch(unsent);
        }
        Poll::Ready(Ok(response.map(|body| Paced {
            body,
            unsent,
            _one: this.one.clone(),
        })))
    }
}

pin_project! {
    /// A body whose pieces are watched.
    pub(super) struct Paced<B> {
        #[pin]
        body: B,
        unsent: Option<Arc<Unsent>>,
        // Dropped after the body: see `Answering`.
        _one: Option<Arc<One>>,
    }
}

impl<B: Body> Body for Paced<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        let piece = |data| Piece::new(data, this.unsent.clone());
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of a body, which is dropped once it has been sent.
pub(super) struct Piece<D> {
    data: D,
    of: Option<Arc<Unsent>>,
}

impl<D> Piece<D> {
    pub(super) fn new(data: D, of: Option<Arc<Unsent>>) -> Self {
        if let Some(of) = &of {
            let mut state = of.lock();
            state.pieces += 1;
            if state.pieces == 1 {
                of.streams.waits();
            }
        }
        Self { data, of }
    }

    /// Sends all of it.
    #[cfg(test)]
    pub(super) fn into_unsent(self) -> Option<Arc<Unsent>> {
        self.of.clone()
    }

    fn has_sent(&self, bytes: usize) {
        if let Some(of) = &self.of {
            of.lock().progress.sent += bytes as u64;
            of.streams.has_sent(bytes);
        }
    }
}

impl<D> Drop for Piece<D> {
    fn drop(&mut self) {
        let Some(of) = &self.of else { return };
        let mut state = of.lock();
        state.pieces -= 1;
        let waker = if state.pieces == 0 {
            state.progress.caught_up += 1;
            of.streams.waits_no_more();
            state.waker.take()
        } else {
            None
        };
        drop(state);
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    fn advance(&mut self, bytes: usize) {
        self.data.advance(bytes);
        self.has_sent(bytes);
    }

    fn copy_to_bytes(&mut self, bytes: usize) -> Bytes {
        let copied = self.data.copy_to_bytes(bytes);
        self.has_sent(bytes);
        copied
    }
}

//! The streams of HTTP/2 connections, each with a limit for how long its peer may take nothing of
//! it: [`StreamExecutor`], [`Streams`].
//!
//! hyper runs each stream as a future of its own, which waits while the peer keeps the stream's
//! window closed. It has no limit for that, and a body cannot end it, as hyper does not poll a body
//! while a piece of it waits. So the executor is the place: it can drop the future, which resets the
//! stream and no other.

use std::{
    cell::Cell,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use fourway_core::{Runtime, cancel::CancellationToken};
use hyper::rt::Executor;
use pin_project_lite::pin_project;

use super::{OnTimeout, Timeout, pieces::Unsent};

/// The executor of a [`Server`](super::Server)'s [builder](super::Server::configure). It spawns
/// detached tasks, as [`Hyper`](crate::Hyper) does, and ends the streams that reach the
/// [`send_timeout`](super::Server::send_timeout).
#[derive(Clone, Copy, Debug)]
pub struct StreamExecutor<R> {
    runtime: R,
}

impl<R> StreamExecutor<R> {
    pub(super) fn new(runtime: R) -> Self {
        Self { runtime }
    }
}

impl<R, F> Executor<F> for StreamExecutor<R>
where
    R: Runtime,
    F: Future<Output = ()> + Send + 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        self.runtime.spawn_detached(Timed {
            future: Some(future),
            runtime: self.runtime.clone(),
            unsent: None,
            stalled: None,
        });
    }
}

/// What the streams of one connection have in common.
pub(super) struct Streams {
    pub(super) limit: Duration,
    pub(super) peer: SocketAddr,
    pub(super) on_timeout: Option<OnTimeout>,
    pub(super) noted: Arc<Noted>,
    /// Ends the connection.
    pub(super) cut: CancellationToken,
}

/// What a connection's task learns from the parts that hyper owns.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// There was a request.
    pub(super) has_asked: AtomicBool,
    /// The socket has no room now.
    pub(super) is_full: AtomicBool,
}

thread_local! {
    /// Where a service's future leaves its [`Unsent`] for the [`Timed`] that polls it. There is no
    /// other way from one to the other: hyper makes the one future of the other.
    static MADE: Cell<Option<Arc<Unsent>>> = const { Cell::new(None) };
}

/// Tells the stream that is polled now what to watch.
pub(super) fn watch(unsent: Arc<Unsent>) {
    // It fails only at the end of a thread, which polls no streams.
    let _ = MADE.try_with(|made| made.set(Some(unsent)));
}

/// Calls `poll`, and gives what was [left](watch) meanwhile.
fn watching<T>(poll: impl FnOnce() -> T) -> (T, Option<Arc<Unsent>>) {
    // A stream may be polled within another one, by an executor that runs at once.
    let outer = MADE.try_with(Cell::take).ok().flatten();
    let output = poll();
    let made = MADE.try_with(|made| made.replace(outer)).ok().flatten();
    (output, made)
}

pin_project! {
    /// A stream's future, with the limit for what it has not sent. It outlives that future until the
    /// last piece has gone.
    struct Timed<R: Runtime, F> {
        #[pin]
        future: Option<F>,
        runtime: R,
        // `None` before there is a response.
        unsent: Option<Arc<Unsent>>,
        stalled: Option<Stalled<R>>,
    }
}

/// A limit that runs.
struct Stalled<R: Runtime> {
    sleep: Pin<Box<R::Sleep>>,
    /// How many bytes had been sent when it began.
    sent: u64,
}

impl<R: Runtime, F: Future<Output = ()>> Future for Timed<R, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            let (poll, made) = watching(|| future.poll(cx));
            if made.is_some() {
                *this.unsent = made;
            }
            if poll.is_ready() {
                this.future.set(None);
            }
        }
        let pending = |is_done| {
            if is_done {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        };
        let Some(unsent) = this.unsent else {
            return pending(this.future.is_none());
        };
        let streams = &unsent.streams;
        loop {
            // While there is a future, whatever wakes it polls this as well.
            let waker = this.future.is_none().then(|| cx.waker());
            let Some(sent) = unsent.sent(waker) else {
                *this.stalled = None;
                return pending(this.future.is_none());
            };
            let stalled = this.stalled.get_or_insert_with(|| Stalled {
                sleep: Box::pin(this.runtime.sleep(streams.limit)),
                sent,
            });
            ready!(stalled.sleep.as_mut().poll(cx));
            let has_sent = stalled.sent != sent;
            *this.stalled = None;
            // Relaxed: a value from a moment ago is as good.
            if has_sent || streams.noted.is_full.load(Ordering::Relaxed) {
                // The limit of the socket applies while that is full: this stream waits for others.
                continue;
            }
            let was_running = this.future.is_some();
            if was_running {
                // Resets the stream.
                this.future.set(None);
            } else {
                // hyper has given away all of the stream, or the reset waits behind its bytes, and
                // there is no other way to end it.
                streams.cut.cancel();
            }
            if !unsent.was_told() {
                if let Some(tell) = &streams.on_timeout {
                    tell(streams.peer, Timeout::Send);
                }
            }
            if !was_running {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use fourway_core::{BlockOn, Timer};
    use fourway_sim::Sim;
    use fourway_testing::{Counter, Gate};
    use hyper::body::Buf;

    use super::{super::pieces::Piece, *};

    const LIMIT: Duration = Duration::from_secs(60);

    /// Counts as one stream.
    struct Running(Counter);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.sub();
        }
    }

    /// A stream whose one piece the test sends, in virtual time.
    struct Scene {
        rt: Sim,
        streams: Arc<Streams>,
        /// The test's, until it is dropped.
        piece: Option<Piece<&'static [u8]>>,
        running: Counter,
        /// Ends the stream's future.
        end: Gate,
        told: Arc<Mutex<Vec<Timeout>>>,
    }

    impl Scene {
        fn new(rt: &Sim) -> Self {
            let told = Arc::<Mutex<Vec<Timeout>>>::default();
            let tells = told.clone();
            let streams = Arc::new(Streams {
                limit: LIMIT,
                peer: ([127, 0, 0, 1], 1).into(),
                on_timeout: Some(Arc::new(move |_, timeout| {
                    tells.lock().unwrap().push(timeout)
                })),
                noted: Arc::default(),
                cut: CancellationToken::new(),
            });
            let unsent = Arc::new(Unsent::new(streams.clone()));
            let piece = Piece::new(&[0; 100][..], Some(unsent.clone()));
            let running = Counter::default();
            running.add();
            let (guard, end) = (Running(running.clone()), Gate::default());
            let ends = end.clone();
            StreamExecutor::new(rt.clone()).execute(async move {
                let _guard = guard;
                watch(unsent);
                ends.pass().await;
            });
            Self {
                rt: rt.clone(),
                streams,
                piece: Some(piece),
                running,
                end,
                told,
            }
        }

        fn wait(&self, time: Duration) {
            self.rt.block_on(self.rt.sleep(time));
        }

        fn told(&self) -> usize {
            self.told.lock().unwrap().len()
        }
    }

    #[test]
    fn a_stream_that_moves_goes_on_and_one_that_stops_is_dropped() {
        Sim::new(1).run(|rt| {
            let mut scene = Scene::new(&rt);
            for _ in 0..11 {
                scene.wait(LIMIT * 9 / 10);
                scene.piece.as_mut().unwrap().advance(1);
            }
            assert_eq!((scene.running.get(), scene.told()), (1, 0));
            // The limit ends at each full minute, and the last byte was sent just before one.
            scene.wait(LIMIT * 3 / 2);
            assert_eq!((scene.running.get(), scene.told()), (0, 1));
            assert!(!scene.streams.cut.is_cancelled());
            // Its bytes stay where they are: the reset does not come by.
            scene.wait(LIMIT);
            assert!(scene.streams.cut.is_cancelled());
            assert_eq!(scene.told(), 1);
        });
    }

    #[test]
    fn the_last_piece_has_the_same_limit() {
        Sim::new(1).run(|rt| {
            let scene = Scene::new(&rt);
            scene.end.open();
            scene.wait(LIMIT / 2);
            assert_eq!((scene.running.get(), scene.told()), (0, 0));
            scene.wait(LIMIT);
            assert_eq!(scene.told(), 1);
            assert!(scene.streams.cut.is_cancelled());
        });
        Sim::new(1).run(|rt| {
            let mut scene = Scene::new(&rt);
            scene.end.open();
            scene.wait(LIMIT / 2);
            scene.piece = None;
            scene.wait(LIMIT * 3);
            assert_eq!(scene.told(), 0);
            // The task has ended, and let go of this.
            assert_eq!(Arc::strong_count(&scene.streams), 1);
        });
    }

    #[test]
    fn streams_do_not_answer_for_a_full_socket() {
        Sim::new(1).run(|rt| {
            let scene = Scene::new(&rt);
            scene.streams.noted.is_full.store(true, Ordering::Relaxed);
            scene.wait(LIMIT * 10);
            assert_eq!((scene.running.get(), scene.told()), (1, 0));
            scene.streams.noted.is_full.store(false, Ordering::Relaxed);
            scene.wait(LIMIT * 2);
            assert_eq!((scene.running.get(), scene.told()), (0, 1));
        });
    }

    #[test]
    fn what_waits_for_the_service_has_no_limit() {
        Sim::new(1).run(|rt| {
            let mut scene = Scene::new(&rt);
            scene.piece = None;
            scene.wait(LIMIT * 10);
            assert_eq!((scene.running.get(), scene.told()), (1, 0));
        });
    }
}

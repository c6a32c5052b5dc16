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
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use fourway_core::{Runtime, cancel::CancellationToken, time::Sleep};
use hyper::rt::Executor;
use pin_project_lite::pin_project;

use super::{
    OnTimeout, Timeout,
    pieces::{Progress, Unsent},
};

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
        self.runtime
            .spawn_detached(Timed::new(future, self.runtime.clone()));
    }
}

/// What the streams of one connection have in common.
pub(super) struct Streams {
    pub(super) limit: Duration,
    /// Bytes a second, for each stream that waits.
    pub(super) rate: u32,
    pub(super) peer: SocketAddr,
    pub(super) on_timeout: Option<OnTimeout>,
    pub(super) noted: Arc<Noted>,
    /// Ends the connection.
    pub(super) cut: CancellationToken,
    sent: Sent,
}

/// The bytes of all streams of a connection, and the number of those that wait. Relaxed accesses:
/// each is a figure of its own, and values from a moment ago are as good.
#[derive(Default)]
struct Sent {
    bytes: AtomicU64,
    waiting: AtomicUsize,
}

impl Streams {
    pub(super) fn new(
        limit: Duration,
        rate: u32,
        peer: SocketAddr,
        on_timeout: Option<OnTimeout>,
        noted: Arc<Noted>,
    ) -> Self {
        Self {
            limit,
            rate,
            peer,
            on_timeout,
            noted,
            cut: CancellationToken::new(),
            sent: Sent::default(),
        }
    }

    /// A stream has something to send.
    pub(super) fn waits(&self) {
        self.sent.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// It has sent all of it.
    pub(super) fn waits_no_more(&self) {
        self.sent.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn has_sent(&self, bytes: usize) {
        self.sent.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A period of a stream that begins now.
    fn period(&self, progress: Progress) -> Period {
        Period {
            progress,
            all_sent: self.sent.bytes.load(Ordering::Relaxed),
        }
    }

    /// Has the peer taken too little of a stream in the period from `before` to `now`?
    fn is_too_slow(&self, before: Period, now: Period) -> bool {
        if before.progress.caught_up != now.progress.caught_up {
            // It waited for the service meanwhile.
            return false;
        }
        let sent = now.progress.sent - before.progress.sent;
        let all_sent = now.all_sent - before.all_sent;
        // Relaxed: a value from a moment ago is as good.
        let is_full = self.noted.is_full.load(Ordering::Relaxed);
        if sent == 0 && !is_full {
            // Its window is closed: other streams do not hold it up.
            return true;
        }
        if all_sent == 0 && is_full {
            // The limit of the socket applies, and reports it.
            return false;
        }
        let floor = f64::from(self.rate) * self.limit.as_secs_f64();
        // The casts lose only what is far above any floor. With a floor of 0 nobody is below it.
        let is_below = |bytes: u64, streams: usize| (bytes as f64) < floor * streams as f64;
        let waiting = self.sent.waiting.load(Ordering::Relaxed);
        // A stream may have to wait for its turn among the others. The peer is too slow if it takes
        // too little of all of them together.
        is_below(sent, 1) && is_below(all_sent, waiting)
    }
}

/// A moment, from which a stream's limit counts.
#[derive(Clone, Copy)]
struct Period {
    progress: Progress,
    /// By all streams of the connection.
    all_sent: u64,
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
        // The end of the period below. It is made once, and runs on while nothing waits: a timer for
        // each piece would cost more than the piece.
        #[pin]
        sleep: Option<R::Sleep>,
        period: Option<Period>,
    }
}

impl<R: Runtime, F> Timed<R, F> {
    fn new(future: F, runtime: R) -> Self {
        Self {
            future: Some(future),
            runtime,
            unsent: None,
            sleep: None,
            period: None,
        }
    }
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
            let Some(progress) = unsent.progress(waker) else {
                return pending(this.future.is_none());
            };
            let now = streams.period(progress);
            if this.sleep.is_none() {
                this.sleep.set(Some(this.runtime.sleep(streams.limit)));
                *this.period = Some(now);
            }
            let mut sleep = (this.sleep.as_mut().as_pin_mut()).expect("it was made above");
            ready!(sleep.as_mut().poll(cx));
            sleep.reset_after(streams.limit);
            let before = this.period.replace(now).unwrap_or(now);
            if !streams.is_too_slow(before, now) {
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
    use std::{pin::pin, sync::Mutex, task::Waker};

    use fourway_core::{BlockOn, Timer};
    use fourway_sim::Sim;
    use fourway_testing::{Counter, Counting, Gate};
    use hyper::body::Buf;

    use super::{super::pieces::Piece, *};

    const LIMIT: Duration = Duration::from_secs(60);
    const RATE: u32 = 100;
    /// What a stream has to send in the time of its limit.
    const FLOOR: usize = 6_000;

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
            let tell = move |_, timeout| tells.lock().unwrap().push(timeout);
            let peer = ([127, 0, 0, 1], 1).into();
            let streams = Streams::new(LIMIT, RATE, peer, Some(Arc::new(tell)), Arc::default());
            let streams = Arc::new(streams);
            let unsent = Arc::new(Unsent::new(streams.clone()));
            let piece = Piece::new(&[0; 100 * FLOOR][..], Some(unsent.clone()));
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
                scene.piece.as_mut().unwrap().advance(FLOOR);
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
    fn a_byte_now_and_then_is_too_little() {
        Sim::new(1).run(|rt| {
            let mut scene = Scene::new(&rt);
            for _ in 0..3 {
                scene.wait(LIMIT / 2);
                scene.piece.as_mut().unwrap().advance(1);
            }
            assert_eq!((scene.running.get(), scene.told()), (0, 1));
        });
    }

    #[test]
    fn streams_answer_for_a_full_socket_if_the_peer_takes_too_little_for_all() {
        for (others, is_enough) in [(3, true), (4, false)] {
            Sim::new(1).run(move |rt| {
                let scene = Scene::new(&rt);
                scene.streams.noted.is_full.store(true, Ordering::Relaxed);
                // Streams that wait as well; all bytes are those of another one.
                (0..others).for_each(|_| scene.streams.waits());
                for _ in 0..10 {
                    scene.wait(LIMIT);
                    scene.streams.has_sent(4 * FLOOR);
                }
                let is_left = usize::from(is_enough);
                assert_eq!((scene.running.get(), scene.told()), (is_left, 1 - is_left));
                scene.streams.noted.is_full.store(false, Ordering::Relaxed);
                // It has its turn now, and does not take it: its window is closed.
                for _ in 0..3 {
                    scene.wait(LIMIT);
                    scene.streams.has_sent(100 * FLOOR);
                }
                assert_eq!((scene.running.get(), scene.told()), (0, 1));
            });
        }
    }

    #[test]
    fn a_stream_that_has_sent_all_it_had_may_have_sent_little() {
        Sim::new(1).run(|rt| {
            let mut scene = Scene::new(&rt);
            for _ in 0..20 {
                scene.wait(LIMIT / 2);
                let unsent = scene.piece.take().unwrap().into_unsent();
                // The service's next piece, at once: whoever looks finds one that waits.
                scene.piece = Some(Piece::new(&[0; 100][..], unsent));
            }
            assert_eq!((scene.running.get(), scene.told()), (1, 0));
            scene.wait(LIMIT * 2);
            assert_eq!((scene.running.get(), scene.told()), (0, 1));
        });
    }

    #[global_allocator]
    static COUNTING: Counting = Counting;

    /// A stream has one timer, and not one for each piece.
    #[test]
    fn a_piece_takes_no_allocation() {
        let rt = fourway_testing::any();
        let peer = ([127, 0, 0, 1], 1).into();
        let limit = fourway_testing::AGES;
        let streams = Arc::new(Streams::new(limit, RATE, peer, None, Arc::default()));
        let unsent = Arc::new(Unsent::new(streams));
        let watched = unsent.clone();
        let mut stream = pin!(Timed::new(
            async move {
                watch(watched);
                std::future::pending().await
            },
            rt
        ));
        let cx = &mut Context::from_waker(Waker::noop());
        let mut pieces = |number| {
            let before = Counting::of_this_thread();
            for _ in 0..number {
                let piece = Piece::new(&[0; 10][..], Some(unsent.clone()));
                assert!(stream.as_mut().poll(cx).is_pending());
                drop(piece);
                // Now it waits for the service.
                assert!(stream.as_mut().poll(cx).is_pending());
            }
            Counting::of_this_thread() - before
        };
        let first = pieces(1);
        println!("the first piece: {first} allocations");
        assert_eq!(pieces(100), 0);
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

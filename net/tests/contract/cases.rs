//! The cases: [`CASES`].

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use fourway_core::{AnyRuntime, BlockOn, Shutdown, Spawner, Timer};
use fourway_net::is_shutdown;
use fourway_testing::poll_once;
use futures_util::future::{join, join_all};

use crate::network::{Listener, Network, Stream, moment};

#[path = "../common/mod.rs"]
mod common;

pub(crate) struct Case {
    pub(crate) number: &'static str,
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Bench<'_>),
}

macro_rules! cases {
    ($($number:literal $name:ident)*) => {
        pub(crate) const CASES: &[Case] = &[
            $( Case { number: $number, name: stringify!($name), run: $name }, )*
        ];
    };
}

cases! {
    "NE-1.1" a_dropped_accept_loses_no_connection
    "NE-1.2" a_dropped_read_loses_no_bytes
    "NE-1.3" a_dropped_write_has_sent_nothing
    "NE-1.4" a_dropped_connect_closes_its_socket
    "NE-2.1" an_end_in_one_direction
    "NE-2.2" a_reset_is_no_end
    "NE-2.3" refused_and_late
    "NE-2.4" each_address_is_tried
    "NE-3.1" a_peer_that_never_reads
    "NE-3.2" a_peer_that_sends_without_end
    "NE-3.3" any_number_may_wait
    "NE-3.4" what_is_idle_is_not_polled
    "NE-4.1" after_the_shutdown
    "NE-4.2" in_another_executor
    "NE-4.3" drop_never_blocks
}

/// What a case has to do with.
pub(crate) struct Bench<'a> {
    net: &'a dyn Network,
    patience: Duration,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(net: &'a dyn Network, patience: Duration) -> Self {
        Self { net, patience }
    }

    fn rt(&self) -> &AnyRuntime {
        self.net.runtime()
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = self.rt().timeout(self.patience, future);
        self.rt().block_on(limited).expect("takes for ever")
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        self.net.connect(vec![to], self.patience).await
    }

    async fn pair(&self) -> (Box<dyn Stream>, Box<dyn Stream>) {
        let listener = self.net.listen().await.unwrap();
        let (a, b) = join(self.connect(listener.address()), listener.accept()).await;
        (a.unwrap(), b.unwrap())
    }
}

async fn write_all(stream: &mut dyn Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write(bytes).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

async fn read_to_end(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(all),
            read => all.extend_from_slice(&buf[..read]),
        }
    }
}

/// Polls it so often, with pauses for what it waits for.
async fn poll_times<F: Future>(
    rt: &AnyRuntime,
    mut future: Pin<&mut F>,
    times: usize,
) -> Option<F::Output> {
    for _ in 0..times {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        rt.sleep(Duration::from_millis(2)).await;
    }
    None
}

/// Tells that it has been woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // Pairs with `until`'s load.
        self.0.store(true, Ordering::Release);
    }
}

impl Woken {
    fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        let waker = Waker::from(self.clone());
        future.poll(&mut Context::from_waker(&waker))
    }

    async fn until(&self, rt: &AnyRuntime) {
        // The case has its deadline.
        while !self.0.load(Ordering::Acquire) {
            rt.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Wherever it is dropped: before it has been polled, while it waits, once it is ready, and after
/// a poll or more that could have had the result. It has been woken before the first poll where
/// `true`: only then is it certain that the poll finds what it waits for.
const POLLS: [(usize, bool); 8] = [
    (0, false),
    (1, false),
    (2, false),
    (0, true),
    (1, true),
    (2, true),
    (3, true),
    (1, true),
];

fn a_dropped_accept_loses_no_connection(bench: &Bench<'_>) {
    bench.run(async {
        let listener = bench.net.listen().await.unwrap();
        for (polls, ready) in POLLS {
            let mut accept = Box::pin(listener.accept());
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(accept.as_mut()).is_pending());
            let stream = bench.connect(listener.address()).await.unwrap();
            if ready {
                woken.until(bench.rt()).await;
            }
            let accepted = poll_times(bench.rt(), accept.as_mut(), polls).await;
            drop(accept);
            match accepted {
                Some(accepted) => drop(accepted.unwrap()),
                None => drop(listener.accept().await.unwrap()),
            }
            drop(stream);
        }
    });
}

fn a_dropped_read_loses_no_bytes(bench: &Bench<'_>) {
    bench.run(async {
        let (mut a, mut b) = bench.pair().await;
        for (i, (polls, ready)) in (0u8..).zip(POLLS) {
            let mut buf = [0xff; 1];
            let mut read = Box::pin(b.read(&mut buf));
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(read.as_mut()).is_pending());
            write_all(&mut *a, &[i]).await.unwrap();
            if ready {
                woken.until(bench.rt()).await;
            }
            let has_read = poll_times(bench.rt(), read.as_mut(), polls).await;
            drop(read);
            if has_read.is_none() {
                // Looking ahead takes nothing either.
                assert_eq!(b.peek(&mut [0]).await.unwrap(), 1);
                b.read(&mut buf).await.unwrap();
            }
            assert_eq!(buf, [i]);
        }
    });
}

fn a_dropped_write_has_sent_nothing(bench: &Bench<'_>) {
    bench.run(async {
        let (mut a, mut b) = bench.pair().await;
        let mut sent = 0;
        let bytes = vec![1; 1 << 20];
        // Until there is no room for more, and beyond.
        for _ in 0..64 {
            let written = poll_times(bench.rt(), pin!(a.write(&bytes)), 1).await;
            sent += written.map_or(0, Result::unwrap);
        }
        let ending = async {
            a.end().await.unwrap();
        };
        let ((), received) = join(ending, read_to_end(&mut *b)).await;
        assert_eq!(received.unwrap().len(), sent);
    });
}

fn a_dropped_connect_closes_its_socket(bench: &Bench<'_>) {
    bench.run(async {
        let listener = bench.net.listen().await.unwrap();
        for (polls, ready) in POLLS {
            let mut connect = Box::pin(bench.connect(listener.address()));
            let woken = Arc::new(Woken::default());
            let mut connected = None;
            if ready {
                match woken.poll(connect.as_mut()) {
                    Poll::Ready(stream) => connected = Some(stream),
                    Poll::Pending => woken.until(bench.rt()).await,
                }
            }
            if connected.is_none() {
                connected = poll_times(bench.rt(), connect.as_mut(), polls).await;
            }
            drop(connect);
            if polls > 0 || ready {
                // Whether or not it had come to be connected: the other side reads an end.
                drop(connected);
                let mut accepted = listener.accept().await.unwrap();
                match accepted.read(&mut [0]).await {
                    Ok(read) => assert_eq!(read, 0),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
                }
            }
        }
    });
}

fn an_end_in_one_direction(bench: &Bench<'_>) {
    const SIZE: usize = 4 << 20;
    bench.run(async {
        let (mut a, mut b) = bench.pair().await;
        let sending = async {
            write_all(&mut *a, &vec![1; SIZE]).await.unwrap();
            a.end().await.unwrap();
        };
        let ((), received) = join(sending, read_to_end(&mut *b)).await;
        assert_eq!(received.unwrap().len(), SIZE);
        write_all(&mut *b, b"answer").await.unwrap();
        // Dropping it is an end as well.
        drop(b);
        assert_eq!(read_to_end(&mut *a).await.unwrap(), b"answer");
    });
}

fn a_reset_is_no_end(bench: &Bench<'_>) {
    bench.run(async {
        let (a, mut b) = bench.pair().await;
        let mut buf = [0];
        let reading = b.read(&mut buf);
        let resetting = async { a.reset() };
        let (read, ()) = join(reading, resetting).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

fn refused_and_late(bench: &Bench<'_>) {
    bench.run(async {
        let refused = bench.connect(common::nobody()).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let silent = common::Silent::new();
        let soon = Duration::from_millis(20);
        let late = bench.net.connect(vec![silent.address], soon).await;
        assert_eq!(late.err().unwrap().kind(), io::ErrorKind::TimedOut);
    });
}

fn each_address_is_tried(bench: &Bench<'_>) {
    bench.run(async {
        let listener = bench.net.listen().await.unwrap();
        let to = vec![common::nobody(), listener.address()];
        bench.net.connect(to, bench.patience).await.unwrap();
        listener.accept().await.unwrap();
        // While one does not answer as well, which it might for longer than the case.
        let silent = common::Silent::new();
        let to = vec![silent.address, listener.address()];
        bench.net.connect(to, bench.patience * 2).await.unwrap();
        listener.accept().await.unwrap();
    });
}

fn a_peer_that_never_reads(bench: &Bench<'_>) {
    bench.run(async {
        let (mut a, _never_reads) = bench.pair().await;
        let task = bench.rt().spawn(async move {
            let bytes = vec![0; 1 << 20];
            while a.write(&bytes).await.is_ok() {}
        });
        moment(bench.rt()).await;
        // Others go on.
        for _ in 0..8 {
            let (mut a, mut b) = bench.pair().await;
            write_all(&mut *a, b"hello").await.unwrap();
            a.end().await.unwrap();
            assert_eq!(read_to_end(&mut *b).await.unwrap(), b"hello");
        }
        drop(task);
    });
}

fn a_peer_that_sends_without_end(bench: &Bench<'_>) {
    let (mut a, b) = bench.run(bench.pair());
    let b = b.into_std().unwrap();
    b.set_nonblocking(false).unwrap();
    let sending = std::thread::spawn(move || {
        let mut b = b;
        while io::Write::write_all(&mut b, &[0; 100_000]).is_ok() {}
    });
    // Ends the broken ones too, so that their thread comes back.
    const READS: usize = 200_000;
    let done = Arc::new(AtomicUsize::new(0));
    let reading = {
        let done = done.clone();
        async move {
            while done.fetch_add(1, Ordering::Relaxed) < READS {
                a.read(&mut [0]).await.unwrap();
            }
        }
    };
    // A time limit around it, in a task: looked at between two of its turns, if it has turns.
    let rt = bench.rt().clone();
    let task = bench.rt().spawn(async move {
        let limited = rt.timeout(Duration::from_millis(20), reading);
        limited.await.is_err()
    });
    let is_cut_off = bench.rt().block_on(task).unwrap();
    sending.join().unwrap();
    assert!(is_cut_off, "it was read without a pause");
}

fn any_number_may_wait(bench: &Bench<'_>) {
    bench.run(async {
        let listener: Arc<dyn Listener> = bench.net.listen().await.unwrap().into();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let listener = listener.clone();
                bench
                    .rt()
                    .spawn(async move { drop(listener.accept().await.unwrap()) })
            })
            .collect();
        moment(bench.rt()).await;
        let streams = (0..20).map(|_| bench.connect(listener.address()));
        let streams = join_all(streams).await;
        for task in tasks {
            task.await.unwrap();
        }
        drop(streams);
    });
}

fn what_is_idle_is_not_polled(bench: &Bench<'_>) {
    bench.run(async {
        let listener: Arc<dyn Listener> = bench.net.listen().await.unwrap().into();
        let polls = Arc::new(AtomicUsize::new(0));
        let count = |mut stream: Box<dyn Stream>| {
            let polls = polls.clone();
            bench.rt().spawn(async move {
                let mut buf = [0];
                let mut read = stream.read(&mut buf);
                poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    read.as_mut().poll(cx)
                })
                .await
            })
        };
        let mut tasks = Vec::new();
        for _ in 0..50 {
            let (a, b) = join(bench.connect(listener.address()), listener.accept()).await;
            tasks.push(count(a.unwrap()));
            tasks.push(count(b.unwrap()));
        }
        // Whoever looks again and again does so for each of them, often.
        for _ in 0..10 {
            moment(bench.rt()).await;
        }
        let polls = polls.load(Ordering::Relaxed);
        assert!(
            polls <= 100 * 4,
            "100 idle sockets were polled {polls} times"
        );
        drop(tasks);
    });
}

fn after_the_shutdown(bench: &Bench<'_>) {
    let (listener, mut a, b) = bench.run(async {
        let listener = bench.net.listen().await.unwrap();
        let (a, b) = join(bench.connect(listener.address()), listener.accept()).await;
        (listener, a.unwrap(), b.unwrap())
    });
    // On a thread of its own, as tasks of the runtime are destroyed.
    let (sender, results) = mpsc::channel();
    let waits = std::thread::spawn(move || {
        let mut buf = [0];
        let read = async { a.read(&mut buf).await.map(drop) };
        let accept = async { listener.accept().await.map(drop) };
        let mut told = Box::pin(join(read, accept));
        let begun = elsewhere(poll_once(told.as_mut())).is_pending();
        sender.send((Ok(()), Ok(()), begun)).unwrap();
        let (read, accept) = elsewhere(told.as_mut());
        drop(told);
        // And what is begun from then on.
        let later = elsewhere(async { a.read(&mut buf).await.map(drop) });
        sender
            .send((read, accept, is_shutdown_error(&later)))
            .unwrap();
    });
    assert!(results.recv().unwrap().2);
    if bench.rt().shutdown(bench.patience).is_err() {
        // It lives as long as the process: nothing to be told. The peer ends the wait for it.
        let mut b = b;
        let sent = elsewhere(async { write_all(&mut *b, b"!").await });
        sent.unwrap();
        return;
    }
    let (read, accept, later) = results.recv_timeout(bench.patience).expect("it hangs");
    assert!(is_shutdown_error(&read), "{read:?}");
    assert!(is_shutdown_error(&accept), "{accept:?}");
    assert!(later, "a later one is no error");
    waits.join().unwrap();
    let made = elsewhere(bench.net.listen());
    assert!(is_shutdown(&made.err().expect("another is made")));
    // What needs no reactor goes on.
    b.into_std().unwrap();
}

/// In an executor that belongs to no runtime.
fn elsewhere<F: Future>(future: F) -> F::Output {
    fourway_adapt::block_on(future, None).unwrap()
}

fn is_shutdown_error(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(is_shutdown)
}

fn in_another_executor(bench: &Bench<'_>) {
    let (mut a, mut b) = bench.run(bench.pair());
    let (sender, results) = mpsc::channel();
    std::thread::spawn(move || {
        let text = elsewhere(async {
            let sending = async {
                write_all(&mut *a, &[1; 1 << 20]).await.unwrap();
                a.end().await.unwrap();
            };
            join(sending, read_to_end(&mut *b)).await.1
        });
        let _ = sender.send(text.unwrap().len());
    });
    assert_eq!(
        results.recv_timeout(bench.patience).expect("it hangs"),
        1 << 20
    );
}

fn drop_never_blocks(bench: &Bench<'_>) {
    let (mut a, b) = bench.run(bench.pair());
    // The peer takes nothing, and much has not been sent.
    bench.run(async {
        let bytes = vec![0; 1 << 20];
        while poll_once(a.write(&bytes).as_mut()).await.is_ready() {}
    });
    let (sender, dropped) = mpsc::channel();
    let (listener, mut c) = bench.run(async {
        let listener = bench.net.listen().await.unwrap();
        let (c, _) = join(bench.connect(listener.address()), listener.accept()).await;
        (listener, c.unwrap())
    });
    let task = bench.rt().spawn(async move {
        // With what waits for them, too.
        {
            let mut accept = listener.accept();
            let _ = accept
                .as_mut()
                .poll(&mut std::task::Context::from_waker(Waker::noop()));
            let mut buf = [0];
            let _ = poll_once(c.read(&mut buf).as_mut()).await;
        }
        drop((a, listener, c));
        let _ = sender.send(());
    });
    let is_dropped = dropped.recv_timeout(bench.patience);
    // Ends what blocks, so that the runtime can end.
    b.reset();
    is_dropped.expect("it blocks");
    drop(task);
}

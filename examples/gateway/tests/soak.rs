//! Connections that are cut, stalled, reset and served at random: in the end the process has as
//! many resources as at the beginning.
//!
//! One test in its own process: it counts the process's descriptors and threads. For longer
//! than a moment: `FOURWAY_SOAK_SECONDS=300 cargo test --release -p gateway --test soak`.

use std::{
    fs, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use fourway::{smol::Smol, std_thread::StdThread, tokio::Tokio};
use fourway_core::{AnyRuntime, Shutdown, Spawner, Timer, cancel::CancellationToken};
use fourway_hyper::Server;
use fourway_net::{Net, TcpListener, TcpStream};
use fourway_testing::{AGES, run};
use futures_util::{AsyncReadExt, AsyncWriteExt, future::join_all};
use gateway::{Gateway, Log, Metrics, Settings, tcp};
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, service::service_fn};

#[test]
fn soak() {
    let seconds = std::env::var("FOURWAY_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(1.6, |seconds| seconds.parse().unwrap());
    let share = Duration::from_secs_f64(seconds / 4.0);
    for rt in runtimes() {
        // One-time resources first: threads of the runtime and of the reactor, caches of the
        // resolver and of the allocator.
        round(&rt, Duration::from_millis(200));
        let before = Usage::settled(&rt, None);
        round(&rt, share);
        // It waits until no additional descriptors, threads and tasks are left.
        let after = Usage::settled(&rt, Some(&before));
        println!("{rt:?}\n  before {before:?}\n  after  {after:?}");
        assert!(
            after.descriptors <= before.descriptors,
            "descriptors are left"
        );
        assert!(after.threads <= before.threads, "threads are left");
        assert!(after.tasks <= before.tasks, "tasks are left");
        // The allocator keeps some of what a peak took; a leak of a kilobyte each time would be
        // more than this.
        let more = after.kilobytes.saturating_sub(before.kilobytes);
        assert!(more < 32 * 1024, "{more} KiB more than before");
    }
}

/// Their pools keep idle threads for a moment only, as the test waits until they have gone.
fn runtimes() -> [AnyRuntime; 4] {
    let moment = Duration::from_millis(50);
    let std_thread = StdThread::builder().keep_alive(moment).build();
    let tokio = Tokio::builder().keep_alive(moment).build();
    let current_thread = Tokio::builder().current_thread().keep_alive(moment).build();
    let smol = Smol::builder().keep_alive(moment).build();
    [
        AnyRuntime::new(std_thread.unwrap()),
        AnyRuntime::new(tokio.unwrap()),
        AnyRuntime::new(current_thread.unwrap()),
        AnyRuntime::new(smol.unwrap()),
    ]
}

#[derive(Debug)]
struct Usage {
    descriptors: usize,
    threads: usize,
    /// Tasks of the runtime, if it counts them.
    tasks: Option<usize>,
    kilobytes: usize,
}

impl Usage {
    fn now(rt: &AnyRuntime) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.map_or(0, |number| number.parse().unwrap())
        };
        Self {
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            threads: of("Threads:"),
            tasks: rt.status().executor.tasks,
            kilobytes: of("VmRSS:"),
        }
    }

    /// The usage once it has not changed for a while; or, with `before`, once it is back to that.
    fn settled(rt: &AnyRuntime, before: Option<&Self>) -> Self {
        run(rt, async {
            let (mut last, mut same) = (Self::now(rt), 0);
            loop {
                let is_back = before.is_none_or(|before| {
                    last.descriptors <= before.descriptors
                        && last.threads <= before.threads
                        && last.tasks <= before.tasks
                });
                if is_back && same == 20 {
                    return last;
                }
                rt.sleep(Duration::from_millis(20)).await;
                let now = Self::now(rt);
                let counts = |usage: &Self| (usage.descriptors, usage.threads, usage.tasks);
                let is_same = counts(&now) == counts(&last);
                same = if is_same { 20.min(same + 1) } else { 0 };
                last = now;
            }
        })
    }
}

/// Two gateways, their upstreams and clients that behave badly; all of them end.
fn round(rt: &AnyRuntime, time: Duration) {
    let end = Instant::now() + time;
    let stop = CancellationToken::new();
    let listen = || async { rt.listen_tcp("127.0.0.1:0").await.unwrap() };
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let tcp_metrics = Arc::<Metrics>::default();
    let (serving, metrics) = rt_block_on(rt, async {
        let echo_listener = listen().await;
        let echo_address = address(&echo_listener);
        let http_listener = listen().await;
        let http_address = address(&http_listener);
        let tcp_listener = listen().await;
        let tcp_address = address(&tcp_listener);
        let front_listener = listen().await;
        let front_address = address(&front_listener);

        let settings = Settings {
            upstreams: vec![http_address.to_string()],
            timeout: Duration::from_millis(50),
            grace: Duration::from_millis(100),
            check_every: Some(Duration::from_millis(20)),
            max_requests: 12,
            ..Settings::default()
        };
        let gateway = Gateway::new(rt, settings, Log::new(rt, io::sink())).unwrap();
        let metrics = gateway.metrics();
        let limits = tcp::Limits {
            connections: 12,
            connect_timeout: Duration::from_secs(5),
            send_timeout: AGES,
            grace: Duration::from_millis(100),
        };
        let serving = [
            rt.spawn(with(rt, &stop, |rt, stop| echo(rt, echo_listener, stop))),
            rt.spawn(with(rt, &stop, |rt, stop| http(rt, http_listener, stop))),
            rt.spawn(with(rt, &stop, |_, stop| async move {
                gateway.serve(front_listener, &stop).await;
            })),
            rt.spawn(with(rt, &stop, {
                let metrics = tcp_metrics.clone();
                let upstream = echo_address.to_string();
                |rt, stop| async move {
                    let errors = Log::none();
                    tcp::serve(&rt, tcp_listener, upstream, limits, metrics, &errors, &stop).await;
                }
            })),
        ];
        let clients = (0..16).map(async |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            while Instant::now() < end {
                let how = random.u8(..8);
                // Refused when there are too many, and cut off: an error is no failure here.
                let _ = if random.bool() {
                    misbehave(rt, tcp_address, how, b"hello").await
                } else {
                    let request =
                        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
                    misbehave(rt, front_address, how, request).await
                };
            }
        });
        join_all(clients).await;
        (serving, metrics)
    });
    stop.cancel();
    run(rt, join_all(serving));
    for metrics in [metrics.to_string(), tcp_metrics.to_string()] {
        assert!(metrics.contains("requests_in_flight 0"), "{metrics}");
        assert!(metrics.contains("tcp_connections 0"), "{metrics}");
    }
    assert!(metrics.to_string().contains("gateway_answers_total"));
}

/// Without the deadline of `run`: a soak takes as long as it is told.
fn rt_block_on<F: Future>(rt: &AnyRuntime, future: F) -> F::Output {
    fourway_core::BlockOn::block_on(rt, future)
}

fn with<F>(
    rt: &AnyRuntime,
    stop: &CancellationToken,
    run: impl FnOnce(AnyRuntime, CancellationToken) -> F,
) -> F {
    run(rt.clone(), stop.clone())
}

async fn echo(rt: AnyRuntime, listener: TcpListener, stop: CancellationToken) {
    let accepting = async {
        while let Ok((stream, _)) = listener.accept().await {
            let stop = stop.clone();
            rt.spawn_detached(async move {
                let (read, mut write) = stream.into_split();
                let copying = futures_util::io::copy(read, &mut write);
                let _ = stop.run_until_cancelled(copying).await;
            });
        }
    };
    let _ = stop.run_until_cancelled(accepting).await;
}

async fn http(rt: AnyRuntime, listener: TcpListener, stop: CancellationToken) {
    let clock = rt.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let clock = clock.clone();
        async move {
            // Sometimes it comes too late.
            if fastrand::u8(..) < 16 {
                clock.sleep(Duration::from_millis(70)).await;
            }
            Ok::<_, std::convert::Infallible>(Response::new(request.into_body().boxed()))
        }
    });
    Server::new(&rt)
        .stop(&stop)
        .grace(Duration::from_millis(200))
        .serve(listener, service)
        .await;
}

async fn misbehave(rt: &AnyRuntime, to: SocketAddr, how: u8, hello: &[u8]) -> io::Result<()> {
    let mut stream = rt.connect_tcp(to).timeout(Duration::from_secs(10)).await?;
    let reset = |stream: &TcpStream| stream.set_linger(Some(Duration::ZERO));
    let mut buf = vec![0; 1024];
    match how {
        // Behaves well.
        0..=3 => {
            stream.write_all(hello).await?;
            let _ = stream.read(&mut buf).await?;
        }
        // Cut off in the middle.
        4 => {
            stream.write_all(&hello[..hello.len() / 2]).await?;
        }
        // Reset in the middle.
        5 => {
            stream.write_all(&hello[..hello.len() / 2]).await?;
            reset(&stream)?;
        }
        // Sends nothing and reads nothing.
        6 => {
            stream.write_all(hello).await?;
            rt.sleep(Duration::from_millis(20)).await;
            reset(&stream)?;
        }
        // Writes and writes, reads nothing, and goes away.
        _ => {
            let writing = async {
                loop {
                    stream.write_all(hello).await?;
                }
            };
            let _: Result<io::Result<()>, _> = rt.timeout(Duration::from_millis(20), writing).await;
        }
    }
    Ok(())
}

//! Servers on fourway's sockets beside native ones: an echo, and a hello by hyper.
//!
//! `cargo run --release -p fourway-benches --bin net`. Each server is its own process with two
//! workers. The clients are in this process, on Tokio, and the same for all. It uses the loopback
//! and needs Linux, which reports the processor time of a process. Bounded in connections
//! (`--connections`) and time (`--seconds`).

use std::{
    convert::Infallible,
    error::Error,
    fs, io,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use comfy_table::Table;
use fourway_core::{AnyRuntime, Runtime};
use fourway_hyper::{Hyper, Io};
use fourway_net::Net;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use hyper::{
    Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[derive(Debug, Parser)]
struct Arguments {
    /// How many connections: for each of them, all servers.
    #[arg(long, value_delimiter = ',', default_value = "64,1000,10000")]
    connections: Vec<usize>,
    /// How long each server is loaded, each time.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Which servers, by their names in the table; all if there is none.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// Echo, HTTP, or both.
    #[arg(long, value_delimiter = ',', default_value = "echo,http")]
    cases: Vec<String>,
    /// This process is that server.
    #[arg(long, hide = true)]
    serve: Option<String>,
}

/// Each server, and the server to compare it with.
const SERVERS: [(&str, &str); 5] = [
    ("tokio", "tokio"),
    ("fourway-tokio", "tokio"),
    ("smol", "smol"),
    ("fourway-smol", "smol"),
    ("fourway-std-thread", "tokio"),
];

const WORKERS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(server) = &arguments.serve {
        let (kind, case) = server.split_once('/').ok_or("KIND/CASE")?;
        return serve(kind, case == "http");
    }
    let clients = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    let chosen = |kind: &str| {
        arguments.servers.is_empty() || arguments.servers.iter().any(|name| name == kind)
    };
    let servers: Vec<_> = SERVERS
        .into_iter()
        .filter(|(kind, _)| chosen(kind))
        .collect();
    for case in &arguments.cases {
        for &connections in &arguments.connections {
            let mut all: Vec<Vec<Figures>> = vec![Vec::new(); servers.len()];
            for _ in 0..arguments.rounds {
                for ((kind, _), figures) in servers.iter().zip(&mut all) {
                    let time = Duration::from_secs_f64(arguments.seconds);
                    let measured = measure(&clients, kind, case, connections, time);
                    figures.push(measured.map_err(|error| format!("{kind}: {error}"))?);
                }
            }
            let medians: Vec<_> = all.iter().map(|figures| Figures::median(figures)).collect();
            print(&servers, case, connections, &medians);
        }
    }
    Ok(())
}

fn print(servers: &[(&str, &str)], case: &str, connections: usize, medians: &[Figures]) {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "server",
        "requests/s",
        "p50 µs",
        "p99 µs",
        "CPU µs a request",
        "bytes a connection",
        "idle CPU",
        "time, as a multiple",
    ]);
    for ((kind, peer), figures) in servers.iter().zip(medians) {
        let peer = servers.iter().position(|(kind, _)| kind == peer);
        let multiple = peer.map_or(1.0, |peer| medians[peer].requests / figures.requests);
        table.add_row([
            (*kind).to_owned(),
            format!("{:.0}", figures.requests),
            format!("{:.0}", figures.p50),
            format!("{:.0}", figures.p99),
            format!("{:.1}", figures.cpu),
            format!("{:.0}", figures.bytes),
            format!("{:.2} %", figures.idle),
            format!("{multiple:.2}×"),
        ]);
    }
    println!("\n{case}, {connections} connections\n\n{table}");
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    requests: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    bytes: f64,
    idle: f64,
}

impl Figures {
    /// The median of each column.
    fn median(all: &[Self]) -> Self {
        let of = |column: fn(&Self) -> f64| {
            let mut values: Vec<_> = all.iter().map(column).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            requests: of(|it| it.requests),
            p50: of(|it| it.p50),
            p99: of(|it| it.p99),
            cpu: of(|it| it.cpu),
            bytes: of(|it| it.bytes),
            idle: of(|it| it.idle),
        }
    }
}

/// A server's process, which is ended when this is dropped.
struct Server(Child);

impl Server {
    fn start(kind: &str, case: &str) -> Result<(Self, SocketAddr), Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", &format!("{kind}/{case}")])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let server = Self(child);
        let mut line = String::new();
        BufReader::new(stdout.ok_or("no output")?).read_line(&mut line)?;
        Ok((server, line.trim().parse()?))
    }

    fn resident(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok(number.unwrap_or(0.0) * 1024.0)
    }

    /// The processor time of all its threads.
    fn cpu(&self) -> io::Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text
                .split_whitespace()
                .next()
                .and_then(|it| it.parse().ok());
            nanoseconds += first.unwrap_or(0u64);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(
    clients: &tokio::runtime::Runtime,
    kind: &str,
    case: &str,
    connections: usize,
    time: Duration,
) -> Result<Figures, Box<dyn Error>> {
    let (server, address) = Server::start(kind, case)?;
    let request: &'static [u8] = match case {
        "echo" => &[b'x'; 64],
        _ => b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    };
    clients.block_on(async {
        // One-time allocations come first.
        drop(Client::open(address, request).await?);
        let before = server.resident()?;
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(Client::open(address, request).await?);
        }
        let bytes = (server.resident()? - before) / connections as f64;
        // All is quiet.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let quiet = server.cpu()?;
        let idle_time = Duration::from_secs(1);
        tokio::time::sleep(idle_time).await;
        let idle = (server.cpu()? - quiet).as_secs_f64() / idle_time.as_secs_f64() * 100.0;

        let used = server.cpu()?;
        let begun = Instant::now();
        let end = begun + time;
        let tasks: Vec<_> = open
            .into_iter()
            .map(|client| tokio::spawn(client.load(request, end)))
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        let (took, used) = (begun.elapsed(), server.cpu()? - used);
        latencies.sort_unstable();
        let count = latencies.len();
        let at = |part: f64| f64::from(latencies[((count - 1) as f64 * part) as usize]) / 1000.0;
        Ok(Figures {
            requests: count as f64 / took.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            cpu: used.as_secs_f64() * 1e6 / count as f64,
            bytes,
            idle,
        })
    })
}

struct Client {
    stream: TcpStream,
    /// The length of an answer; all are as long as the first.
    length: usize,
}

impl Client {
    /// Connects, and sends one request.
    async fn open(address: SocketAddr, request: &[u8]) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request).await?;
        let (mut buf, mut length) = ([0; 1024], 0);
        loop {
            length += stream.read(&mut buf[length..]).await?;
            if buf[..length].ends_with(b"hello") || (length == 64 && buf[0] == b'x') {
                return Ok(Self { stream, length });
            }
        }
    }

    /// Nanoseconds of each request.
    async fn load(mut self, request: &'static [u8], end: Instant) -> io::Result<Vec<u32>> {
        let mut latencies = Vec::new();
        let mut buf = vec![0; self.length];
        loop {
            let begun = Instant::now();
            if begun >= end {
                return Ok(latencies);
            }
            self.stream.write_all(request).await?;
            self.stream.read_exact(&mut buf).await?;
            latencies.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
    }
}

fn serve(kind: &str, is_http: bool) -> Result<(), Box<dyn Error>> {
    match kind {
        "tokio" => tokio_native(is_http),
        "smol" => smol_native(is_http),
        "fourway-tokio" => {
            let rt = fourway_tokio::Tokio::builder().worker_threads(WORKERS);
            on_fourway(&rt.build()?, is_http)
        }
        "fourway-smol" => {
            let rt = fourway_smol::Smol::builder().worker_threads(WORKERS);
            on_fourway(&rt.build()?, is_http)
        }
        "fourway-std-thread" => {
            let rt = fourway_std_thread::StdThread::builder().worker_threads(WORKERS);
            on_fourway(&rt.build()?, is_http)
        }
        "fourway-erased" => {
            let rt = fourway_std_thread::StdThread::builder().worker_threads(WORKERS);
            on_fourway(&AnyRuntime::new(rt.build()?), is_http)
        }
        _ => Err(format!("no server is called `{kind}`").into()),
    }
}

async fn hello(_: hyper::Request<Incoming>) -> Result<Response<Hello>, Infallible> {
    Ok(Response::new(Hello::new(Bytes::from_static(b"hello"))))
}

type Hello = http_body_util::Full<Bytes>;

fn on_fourway<R: Runtime>(rt: &R, is_http: bool) -> Result<(), Box<dyn Error>> {
    let task = {
        let rt = rt.clone();
        // In a task, as a server's loop is.
        rt.clone().spawn(async move {
            let listener = rt.listen_tcp("127.0.0.1:0").backlog(4096).await?;
            println!("{}", listener.local_addr()?);
            let mut builder = http1::Builder::new();
            builder.timer(Hyper::new(rt.clone()));
            let builder = Arc::new(builder);
            loop {
                let (mut stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                if is_http {
                    let builder = builder.clone();
                    rt.spawn_detached(async move {
                        let serving = builder.serve_connection(Io::new(stream), service_fn(hello));
                        let _ = serving.await;
                    });
                } else {
                    rt.spawn_detached(async move {
                        let mut buf = [0; 1024];
                        while let Ok(read @ 1..) = stream.read(&mut buf).await {
                            if stream.write_all(&buf[..read]).await.is_err() {
                                break;
                            }
                        }
                    });
                }
            }
            #[allow(unreachable_code, reason = "the type of its errors")]
            io::Result::Ok(())
        })
    };
    Ok(rt.block_on(task)??)
}

fn tokio_native(is_http: bool) -> Result<(), Box<dyn Error>> {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    let serving = rt.spawn(async move {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener: TcpListener = socket.listen(4096)?;
        println!("{}", listener.local_addr()?);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        let builder = Arc::new(builder);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            if is_http {
                let builder = builder.clone();
                tokio::spawn(async move {
                    let serving = builder.serve_connection(TokioIo::new(stream), service_fn(hello));
                    let _ = serving.await;
                });
            } else {
                tokio::spawn(async move {
                    let mut buf = [0; 1024];
                    while let Ok(read @ 1..) = stream.read(&mut buf).await {
                        if stream.write_all(&buf[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
        #[allow(unreachable_code, reason = "the type of its errors")]
        io::Result::Ok(())
    });
    Ok(rt.block_on(serving)??)
}

fn smol_native(is_http: bool) -> Result<(), Box<dyn Error>> {
    let executor: &'static smol::Executor<'static> = Box::leak(Box::default());
    let serving = executor.spawn(async move {
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        // Its timer is that of fourway's adapter, as hyper has none for smol.
        let mut builder = http1::Builder::new();
        builder.timer(Hyper::new(fourway_smol::Smol::global()));
        let builder = Arc::new(builder);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            if is_http {
                let builder = builder.clone();
                let connection = executor.spawn(async move {
                    let serving = builder.serve_connection(Io::new(stream), service_fn(hello));
                    let _ = serving.await;
                });
                connection.detach();
            } else {
                let connection = executor.spawn(async move {
                    let mut buf = [0; 1024];
                    while let Ok(read @ 1..) = stream.read(&mut buf).await {
                        if stream.write_all(&buf[..read]).await.is_err() {
                            break;
                        }
                    }
                });
                connection.detach();
            }
        }
        #[allow(unreachable_code, reason = "the type of its errors")]
        io::Result::Ok(())
    });
    for _ in 1..WORKERS {
        std::thread::spawn(|| smol::block_on(executor.run(std::future::pending::<()>())));
    }
    Ok(smol::block_on(executor.run(serving))?)
}

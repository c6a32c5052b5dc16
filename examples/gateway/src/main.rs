//! `gateway`: a reverse proxy for HTTP, or for TCP, on the runtime that is asked for.

use std::{error::Error, io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, error::ErrorKind, value_parser};
use fourway::{
    AnyRuntime, BlockOn, Shutdown,
    cancel::CancellationToken,
    net::{Net, TcpListener},
};
use futures_util::future::join;
use gateway::{Gateway, Log, Settings, is_path, is_upstream, tcp, tls};

/// Passes requests on to upstreams, in turn.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: String,
    /// Whom requests go to: HOST:PORT. May be given several times.
    #[arg(long, required = true, value_parser = upstream)]
    upstream: Vec<String>,
    /// Pass on bytes, whatever they mean, to the upstream, which is not checked and has to be one.
    #[arg(long, conflicts_with_all = ["tls_certificate", "check_path"])]
    tcp: bool,
    /// A PEM file: clients speak TLS, and this is our certificate, with those that vouch for it.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// A PEM file: the certificate's key.
    #[arg(long, requires = "tls_certificate", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Where to listen for those who ask for `/metrics`.
    #[arg(long)]
    metrics: Option<String>,
    /// `std-thread`, `tokio` or `smol`. Default: what `FOURWAY_RUNTIME` says.
    #[arg(long)]
    runtime: Option<String>,
    /// Connections at a time.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..))]
    max_connections: u64,
    /// Requests at a time; more get 503.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..))]
    max_requests: u64,
    /// Requests at a time of one peer; more get 429. Fewer than all, so that one peer cannot take
    /// all places with answers that it does not read. Default: a tenth of `--max-requests`.
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    max_requests_of_peer: Option<u64>,
    /// Milliseconds without the client's next piece of the request, then 408; and without a piece
    /// that goes on or the head of the answer, then 504.
    #[arg(long, default_value_t = 30_000, value_parser = value_parser!(u64).range(1..))]
    timeout: u64,
    /// Milliseconds for the head of a request, and for an idle connection. An incomplete head gets
    /// 408. With HTTP/2, only for the first request.
    #[arg(long, default_value_t = 30_000, value_parser = value_parser!(u64).range(1..))]
    head_timeout: u64,
    /// Milliseconds in which the client takes nothing, or too little, of its answer; then its
    /// connection is closed, or its HTTP/2 stream reset.
    #[arg(long, default_value_t = 60_000, value_parser = value_parser!(u64).range(1..))]
    send_timeout: u64,
    /// Bytes a second that an HTTP/2 client has to take for each answer that waits, on average over
    /// `--send-timeout`; otherwise answers are reset. 0: no such limit.
    #[arg(long, default_value_t = 240)]
    send_rate: u32,
    /// Milliseconds for a connection to an upstream.
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u64).range(1..))]
    connect_timeout: u64,
    /// What a healthy upstream answers with success: /PATH. Default: that it can be connected to is
    /// enough.
    #[arg(long, value_parser = path)]
    check_path: Option<String>,
    /// How often what is safe is tried again.
    #[arg(long, default_value_t = 2)]
    retries: u32,
    /// Milliseconds that requests may go on once it stops.
    #[arg(long, default_value_t = 30_000)]
    grace: u64,
    /// Milliseconds for writing the rest of the logs at the end.
    #[arg(long, default_value_t = 5_000)]
    log_grace: u64,
    /// No access log.
    #[arg(long)]
    quiet: bool,
}

/// What requests could be sent to, and checked when it is given rather than with each request.
fn upstream(text: &str) -> Result<String, String> {
    if is_upstream(text) {
        Ok(text.to_owned())
    } else {
        Err("it is not HOST:PORT".to_owned())
    }
}

/// Otherwise every check would fail, and every request get 503.
fn path(text: &str) -> Result<String, String> {
    if is_path(text) {
        Ok(text.to_owned())
    } else {
        Err("it is not a path, which begins with `/`".to_owned())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.tcp && arguments.upstream.len() > 1 {
        let problem = "--tcp passes everything on to one --upstream";
        let mut command = Arguments::command();
        command.error(ErrorKind::ArgumentConflict, problem).exit();
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let runtime = match &arguments.runtime {
        Some(name) => fourway::runtime_named(name)?,
        None => fourway::try_default_runtime()?,
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let log_grace = Duration::from_millis(arguments.log_grace);
    ctrlc::set_handler(move || stopped.cancel())?;
    runtime.block_on(serve(&runtime, arguments, &stop))?;
    // A runtime that cannot be shut down ends with the process. So does a thread that still writes
    // the log.
    let _ = runtime.shutdown(log_grace);
    Ok(())
}

async fn listen(runtime: &AnyRuntime, address: &str, backlog: u32) -> io::Result<TcpListener> {
    let listening = runtime.listen_tcp(address).backlog(backlog).await;
    listening.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Of all requests, if nothing was said.
fn of_one_peer(max_requests: u64) -> u64 {
    (max_requests / 10).max(1)
}

/// For what is counted in memory. More than that can never be.
fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

async fn serve(
    runtime: &AnyRuntime,
    arguments: Arguments,
    stop: &CancellationToken,
) -> io::Result<()> {
    let tls = match (&arguments.tls_certificate, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::config(certificate, key)?),
        _ => None,
    };
    let listener = listen(runtime, &arguments.listen, 4096).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let log = if arguments.quiet {
        Log::none()
    } else {
        Log::new(runtime, io::stdout())
    };
    let errors = Log::new(runtime, io::stderr());
    let of_peer = arguments.max_requests_of_peer;
    let of_peer = of_peer.unwrap_or_else(|| of_one_peer(arguments.max_requests));
    let settings = Settings {
        errors: errors.clone(),
        upstreams: arguments.upstream,
        max_connections: size(arguments.max_connections),
        max_requests: arguments.max_requests,
        max_requests_of_peer: size(of_peer),
        timeout: Duration::from_millis(arguments.timeout),
        head_timeout: Duration::from_millis(arguments.head_timeout),
        send_timeout: Duration::from_millis(arguments.send_timeout),
        send_rate: arguments.send_rate,
        connect_timeout: Duration::from_millis(arguments.connect_timeout),
        // Of a TCP upstream nothing is asked.
        check_every: Settings::default().check_every.filter(|_| !arguments.tcp),
        check_path: arguments.check_path,
        tls,
        retries: arguments.retries,
        grace: Duration::from_millis(arguments.grace),
    };
    let upstream = settings.upstreams.first().cloned().unwrap_or_default();
    let gateway = Gateway::new(runtime, settings, log.clone()).map_err(io::Error::other)?;
    if let Some(address) = &arguments.metrics {
        let listener = listen(runtime, address, 1024).await?;
        let (gateway, stop) = (gateway.clone(), stop.clone());
        fourway::Spawner::spawn_detached(runtime, async move {
            gateway.serve_metrics(listener, &stop).await;
        });
    }
    let drain = if arguments.tcp {
        let limits = tcp::Limits {
            connections: arguments.max_connections,
            connect_timeout: Duration::from_millis(arguments.connect_timeout),
            send_timeout: Duration::from_millis(arguments.send_timeout),
            grace: Duration::from_millis(arguments.grace),
        };
        let metrics = gateway.metrics();
        tcp::serve(runtime, listener, upstream, limits, metrics, &errors, stop).await
    } else {
        gateway.serve(listener, stop).await
    };
    // Not by `eprintln`, which blocks when nobody reads the pipe.
    errors.say(|| format!("{} connections, {} cut off", drain.accepted, drain.cut));
    let time = Duration::from_millis(arguments.log_grace);
    join(log.flush(runtime, time), errors.flush(runtime, time)).await;
    drain.error.map_or(Ok(()), Err)
}

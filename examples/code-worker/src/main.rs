//! The program: a prompt, a page, or the protocol on the standard streams or a local socket.

// None of its own.
#![forbid(unsafe_code)]

mod terminal;

use std::{
    convert::Infallible, error::Error, fmt::Display, io, path::PathBuf, process::ExitCode,
    str::FromStr, time::Duration,
};

use clap::{Parser, ValueEnum};
use code_worker::{Limits, Page, Worker, server};
use fourway::{
    AnyRuntime, CancellationToken, execute::Model, smol::Smol, std_thread::StdThread, tokio::Tokio,
};

/// Runs JavaScript for many sessions, sync and async code in one namespace.
///
/// Without an option it gives a prompt; if its input is no terminal, it executes what comes in.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Speak the protocol on the standard streams.
    #[arg(long, conflicts_with = "socket")]
    stdio: bool,
    /// Speak the protocol on a local socket, with many clients.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve a page with cells on the loopback, at this port or one that is free; print where.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0", conflicts_with_all = ["stdio", "socket"])]
    page: Option<u16>,
    /// Where code runs: `thread`, `route` or `async`.
    #[arg(long, default_value_t = Model::Route)]
    model: Model,
    /// What it runs on.
    #[arg(long, value_enum, default_value_t = RuntimeName::StdThread)]
    runtime: RuntimeName,
    /// How long an execution may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().time.as_secs(), value_parser = at_least_one::<u64>)]
    time: u64,
    /// How much memory a session may have, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().memory >> 20, value_parser = at_least_one::<usize>)]
    memory: usize,
    /// How much an execution may write, in KiB.
    #[arg(long, value_name = "KIB", default_value_t = Limits::default().output >> 10, value_parser = at_least_one::<usize>)]
    output: usize,
    /// How many sessions there may be.
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().sessions, value_parser = at_least_one::<usize>)]
    sessions: usize,
    /// How many clients there may be, with `--socket`.
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().clients, requires = "socket", value_parser = at_least_one::<usize>)]
    clients: usize,
    /// Keep the prompt's history in memory only, and not in a file of the user's state.
    #[arg(long)]
    no_history: bool,
}

/// A limit. Zero would refuse all code or every client, and is no way to say that there is no limit.
fn at_least_one<N>(text: &str) -> Result<N, String>
where
    N: FromStr<Err: Display> + Default + PartialEq,
{
    match text.parse() {
        Ok(number) if number == N::default() => {
            Err("nothing could run within this limit; it must be 1 at least".to_owned())
        }
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RuntimeName {
    StdThread,
    Tokio,
    TokioCurrentThread,
    Smol,
}

impl RuntimeName {
    fn build(self) -> io::Result<AnyRuntime> {
        Ok(match self {
            Self::StdThread => AnyRuntime::new(StdThread::new()?),
            Self::Tokio => AnyRuntime::new(Tokio::builder().build()?),
            Self::TokioCurrentThread => AnyRuntime::new(Tokio::builder().current_thread().build()?),
            Self::Smol => AnyRuntime::new(Smol::builder().build()?),
        })
    }
}

impl Arguments {
    fn limits(&self) -> Limits {
        Limits {
            time: Duration::from_secs(self.time),
            memory: self.memory.saturating_mul(1 << 20),
            output: self.output.saturating_mul(1 << 10),
            sessions: self.sessions,
            clients: self.clients,
            ..Limits::default()
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("code-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let worker = Worker::new(
        arguments.runtime.build()?,
        arguments.model,
        arguments.limits(),
    );
    if arguments.stdio {
        server::serve_standard_streams(&worker)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &arguments.socket {
        match listen(&worker, path).map_err(|error| format!("{}: {error}", path.display()))? {}
    }
    if let Some(port) = arguments.page {
        let page = Page::bind(worker, port).map_err(|error| format!("port {port}: {error}"))?;
        println!("{}", page.address());
        // Until the program is ended.
        page.serve(&CancellationToken::new());
        return Ok(ExitCode::SUCCESS);
    }
    terminal::run(&worker, !arguments.no_history)
}

#[cfg(unix)]
fn listen(worker: &Worker, path: &std::path::Path) -> io::Result<Infallible> {
    server::listen(worker, path)
}

#[cfg(not(unix))]
fn listen(_: &Worker, _: &std::path::Path) -> io::Result<Infallible> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "local sockets are there on Unix; use `--stdio`",
    ))
}

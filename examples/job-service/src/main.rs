//! `job-service`: jobs over HTTP, with a dashboard; or the same jobs from the command line.

use std::{
    error::Error,
    io::{self, IsTerminal},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};
use fourway_jobs::ParseScheduleError;
use job_service::{
    cli, http,
    kinds::Working,
    store::Store,
    task::{Body, Submission, Work},
    timetable::{Timed, Timetable},
    work::Root,
    worker,
};
use tracing_subscriber::EnvFilter;

/// Runs jobs, which clients submit now and ask about later. Without a command, it serves them over
/// HTTP.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve jobs over HTTP, on Tokio, with a dashboard at `/`.
    Serve(Serve),
    /// Run the jobs of a store that services share, without serving HTTP.
    Work(Kept),
    /// Run some jobs on plain threads and print their results.
    Do(Do),
}

#[derive(Debug, Args)]
struct Common {
    /// The root folder. Work reads nothing outside of it.
    #[arg(long, env = "JOB_SERVICE_ROOT", default_value = ".")]
    root: PathBuf,
    /// The maximum number of jobs of each queue that run at a time.
    #[arg(long, env = "JOB_SERVICE_AT_ONCE", default_value_t = default_at_once(), value_parser = clap::value_parser!(u16).range(1..))]
    at_once: u16,
}

fn default_at_once() -> u16 {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    u16::try_from(processors).unwrap_or(u16::MAX)
}

#[derive(Debug, Args)]
struct Kept {
    #[command(flatten)]
    common: Common,
    /// The store of the jobs. `memory:` keeps them until the service ends. Other stores keep them
    /// longer: `sqlite:` and the path of a file, `postgres://…` or `nats://…`.
    #[arg(long, env = "JOB_SERVICE_STORE", default_value = "memory:")]
    store: Store,
    /// How many seconds a service of the same store may be without a heartbeat. After that its jobs
    /// run again.
    #[arg(long, env = "JOB_SERVICE_LEASE", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
    /// Recurring work and its times, such as `30 3 * * MON-FRI pack=docs`. May be given more than
    /// once. Services that share a store and have the same schedule do each run once.
    #[arg(long, env = "JOB_SERVICE_SCHEDULE", value_name = "CRON WORK")]
    schedule: Vec<Several>,
    /// The time zone of the schedules.
    #[arg(long, env = "JOB_SERVICE_TIME_ZONE", default_value = "UTC")]
    time_zone: String,
    /// The name of the worker on the dashboard.
    #[arg(long, env = "JOB_SERVICE_NAME", default_value = "job-service")]
    name: String,
    /// How many seconds running jobs have to end after SIGTERM or an interrupt.
    #[arg(long, env = "JOB_SERVICE_DRAIN", default_value_t = 20)]
    drain: u64,
}

impl Kept {
    fn working(&self) -> Working {
        Working {
            name: self.name.clone(),
            at_once: self.common.at_once.into(),
            lease: Duration::from_secs(self.lease),
        }
    }

    fn timetable(&self) -> Result<Timetable, ParseScheduleError> {
        let all = self.schedule.iter().flat_map(|several| &several.0);
        Timetable::new(all.cloned(), &self.time_zone)
    }
}

/// What stands between `;`. Nothing may stand there: a variable that is empty, or ends in a `;`, is
/// no mistake.
#[derive(Clone, Debug)]
struct Several(Vec<Timed>);

impl FromStr for Several {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(';').filter(|part| !part.trim().is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    kept: Kept,
    /// The address to listen on. An address other than loopback needs a token.
    #[arg(long, env = "JOB_SERVICE_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The token that callers must send: `Authorization: Bearer TOKEN`.
    #[arg(long, env = "JOB_SERVICE_TOKEN", hide_env_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    token: Option<String>,
    /// Run no jobs in this process. Workers that share the store run them (`job-service work`).
    // The environment variable has a value: `0`, `false`, `no` and the like mean no, others yes.
    #[arg(long, env = "JOB_SERVICE_NO_WORK", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    no_work: bool,
    /// The maximum number of waiting jobs. More jobs are refused.
    #[arg(long, default_value_t = 10_000)]
    queue_limit: usize,
    /// The maximum number of finished jobs that are kept, for an hour.
    #[arg(long, default_value_t = 100_000)]
    keep: usize,
    /// How many seconds `POST /run` waits for its job.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// How many seconds a request may take to arrive and to be answered. The answers of `/run` and
    /// `/events` may take longer.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    request_timeout: u64,
}

#[derive(Debug, Args)]
struct Do {
    #[command(flatten)]
    common: Common,
    /// The body that does the work.
    #[arg(long, value_enum, default_value_t = Which::Sync)]
    body: Which,
    /// `index=FOLDER`, `pack=FOLDER` or `search=BELOW`.
    #[arg(required = true)]
    work: Vec<Work>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    Sync,
    Async,
}

fn main() -> ExitCode {
    let Arguments { command, serve } = Arguments::parse();
    let done = match command.unwrap_or(Command::Serve(serve)) {
        Command::Serve(serve) => run_server(serve),
        Command::Work(kept) => run_worker(kept),
        Command::Do(this) => run_here(this),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("job-service: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to the standard error.
fn log() {
    let filter = EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

fn run_worker(kept: Kept) -> Result<ExitCode, Box<dyn Error>> {
    log();
    let is_clean = worker::run(worker::Options {
        root: root(&kept.common)?,
        working: kept.working(),
        timetable: kept.timetable()?,
        drain: Duration::from_secs(kept.drain),
        store: kept.store,
    })?;
    Ok(ended(is_clean))
}

fn ended(is_clean: bool) -> ExitCode {
    if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_server(serve: Serve) -> Result<ExitCode, Box<dyn Error>> {
    log();
    let kept = serve.kept;
    let is_clean = http::serve(http::Options {
        listen: serve.listen,
        token: serve.token,
        root: root(&kept.common)?,
        working: kept.working(),
        timetable: kept.timetable()?,
        store: kept.store,
        no_work: serve.no_work,
        queue_limit: serve.queue_limit,
        keep: serve.keep,
        wait: Duration::from_secs(serve.wait),
        request_timeout: Duration::from_secs(serve.request_timeout),
        drain: Duration::from_secs(kept.drain),
    })?;
    Ok(ended(is_clean))
}

fn run_here(this: Do) -> Result<ExitCode, Box<dyn Error>> {
    let body = match this.body {
        Which::Sync => Body::Sync,
        Which::Async => Body::Async,
    };
    let submissions: Vec<_> = (this.work.into_iter())
        .map(|work| Submission {
            body,
            ..Submission::new(work)
        })
        .collect();
    let at_once = this.common.at_once.into();
    cli::run(
        root(&this.common)?,
        at_once,
        &submissions,
        &mut io::stdout(),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn root(common: &Common) -> io::Result<Root> {
    let folder = &common.root;
    Root::new(folder)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))
}

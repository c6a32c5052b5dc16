//! The real program on a free port, and a client.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use fourway_servers::Host;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::{
    Agent, Body, SendBody,
    http::{Request, Response, header::AUTHORIZATION},
    middleware::MiddlewareNext,
};

/// How long any step may take before the test gives up. It measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(120);

const PROGRAM: &str = env!("CARGO_BIN_EXE_job-service");

/// Of services on machines of their own.
const TOKEN: &str = "a token for tests";

/// In seconds: longer than a busy machine keeps a worker from its heartbeats.
pub const LEASE: &str = "10";

/// A service that ends with the test.
pub struct Service {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    pub root: TempDir,
    agent: Agent,
    // Kept open: the program could not print into a pipe without a reader.
    _stdout: BufReader<ChildStdout>,
}

impl Service {
    pub fn start(arguments: &[&str]) -> Self {
        Self::run(program(), Ipv4Addr::LOCALHOST.into(), None, arguments)
    }

    /// On a machine of its own. It wants a token, which all requests of this client have.
    pub fn start_on(host: &Host, arguments: &[&str]) -> Self {
        Self::run(program_on(host), host.address(), Some(TOKEN), arguments)
    }

    fn run(
        mut program: Command,
        address: IpAddr,
        token: Option<&'static str>,
        arguments: &[&str],
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        skill(root.path(), "first");
        skill(root.path(), "second");
        if let Some(token) = token {
            program.env("JOB_SERVICE_TOKEN", token);
        }
        let mut child = program
            .args(["serve", "--listen", &format!("{address}:0"), "--root"])
            .arg(root.path())
            .args(arguments)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ");
        let url = url.expect("it says where it listens").to_owned();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .middleware(
                move |mut request: Request<SendBody<'_>>, next: MiddlewareNext<'_>| {
                    if let Some(token) = token {
                        let value = format!("Bearer {token}").parse().unwrap();
                        request.headers_mut().insert(AUTHORIZATION, value);
                    }
                    next.handle(request)
                },
            )
            .build()
            .into();
        Self {
            child,
            url,
            root,
            agent,
            _stdout: stdout,
        }
    }

    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_at(&format!("{}{path}", self.url))
    }

    /// From another service, too.
    pub fn get_at(&self, url: &str) -> Answer {
        Answer::of(self.agent.get(url).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.url);
        Answer::of(self.agent.post(url).send_json(body).unwrap())
    }

    pub fn post_empty(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.url);
        Answer::of(self.agent.post(url).send_empty().unwrap())
    }

    pub fn delete(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.url);
        Answer::of(self.agent.delete(url).call().unwrap())
    }

    /// Submits, and gives the id.
    pub fn submit(&self, submission: &Value) -> String {
        let answer = self.post("/run/async", submission);
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/status/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// The job, once it is as wanted.
    pub fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        until(&format!("job {id}"), || {
            last = self.job(id);
            wanted(&last)
        });
        last
    }

    pub fn until_state(&self, id: &str, state: &str) -> Value {
        self.until(id, |job| job["state"] == state)
    }

    /// The worker that holds the job, as the service at `url` shows it.
    pub fn holder(&self, url: &str, job: &str) -> Option<Value> {
        let overview = self.get_at(&format!("{url}/overview")).json();
        let workers = overview["workers"].as_array().unwrap();
        let holds = |worker: &&Value| {
            let holds = worker["holds"].as_array().unwrap();
            holds.iter().any(|held| held["id"] == job)
        };
        workers.iter().find(holds).cloned()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        let mut status = None;
        until("the service to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

/// A worker without a service, configured only by environment variables; killed with the test.
pub struct Working {
    child: Child,
    /// As the dashboard calls it.
    pub name: String,
    _stdout: BufReader<ChildStdout>,
}

impl Working {
    pub fn start(root: &Path, store: &str, name: &str) -> Self {
        Self::start_with(root, store, name, &[])
    }

    /// With more variables.
    pub fn start_with(root: &Path, store: &str, name: &str, more: &[(&str, &str)]) -> Self {
        Self::run(program(), root, store, name, more)
    }

    /// On a machine of its own.
    pub fn start_on(host: &Host, root: &Path, store: &str, name: &str) -> Self {
        Self::run(program_on(host), root, store, name, &[])
    }

    fn run(
        mut program: Command,
        root: &Path,
        store: &str,
        name: &str,
        more: &[(&str, &str)],
    ) -> Self {
        let mut child = program
            .arg("work")
            .env("JOB_SERVICE_ROOT", root)
            .env("JOB_SERVICE_STORE", store)
            .env("JOB_SERVICE_NAME", name)
            .env("JOB_SERVICE_LEASE", LEASE)
            .env("JOB_SERVICE_AT_ONCE", "1")
            .envs(more.iter().copied())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let name = line.trim().strip_prefix("working as ");
        Self {
            name: name.expect("it says what it is called").to_owned(),
            child,
            _stdout: stdout,
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, as it is started.
pub fn program() -> Command {
    prepared(Command::new(PROGRAM))
}

/// The same, on a machine of its own.
fn program_on(host: &Host) -> Command {
    prepared(host.command(PROGRAM))
}

fn prepared(mut program: Command) -> Command {
    // Removes variables that the user has set for another service.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("JOB_SERVICE_") {
            program.env_remove(name);
        }
    }
    program.env("RUST_LOG", "warn").stdout(Stdio::piped());
    program
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub retry_after: Option<u64>,
    pub text: String,
}

impl Answer {
    fn of(response: Response<Body>) -> Self {
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        Self {
            status: response.status().as_u16(),
            kind: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after").map(|seconds| seconds.parse().unwrap()),
            text: {
                let mut text = String::new();
                let mut body = response.into_body().into_reader();
                body.read_to_string(&mut text).unwrap();
                text
            },
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Checks repeatedly until it is so; fails if it never is.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < DEADLINE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A search of this many starts.
pub fn search(below: u64) -> Value {
    json!({"work": {"kind": "search", "below": below}})
}

/// A search that does not end by itself.
pub fn endless() -> Value {
    search(1_000_000_000)
}

/// Writes a valid skill.
pub fn skill(folder: &Path, name: &str) {
    let folder = folder.join("skills").join(name);
    fs::create_dir_all(&folder).unwrap();
    let text = format!("---\nname: {name}\ndescription: Does it {name}.\n---\n\nDo it now.\n");
    fs::write(folder.join("SKILL.md"), text).unwrap();
}

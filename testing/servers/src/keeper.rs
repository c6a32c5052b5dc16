//! A process that keeps a server, and ends it when its own starter has ended: [`Keeper`].

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::fd::OwnedFd,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::ServerError;

/// How long a server may take to start or to stop, on a busy machine.
pub(crate) const AGES: Duration = Duration::from_secs(60);

/// It performs the orders that it reads, one word a line, and answers each with a line. When its
/// input ends, which happens when the process at the other end ends (by any signal), it stops the
/// server and removes the folder. Destructors and signal handlers would not be enough: test
/// processes end by `exit`, and some by SIGKILL.
const SCRIPT: &str = r#"
folder=$1 stop=$2
shift 2
server=
children() { cat "/proc/$server"/task/*/children 2>/dev/null; }
# Each thread stops by itself, when it next has a processor; one that has ended meanwhile, and for
# which a parent that is stopped does not ask, never does.
stopped() {
    kill -s STOP "$1"
    while cat "/proc/$1"/task/*/stat 2>/dev/null | grep -qv '^[0-9]* ([^)]*) [TtZX] '; do sleep 0.01; done
}
while read -r word; do
    case $word in
        start) "$@" >>"$folder/log" 2>&1 & server=$!; echo "$server" ;;
        alive) if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then echo yes; else echo no; fi ;;
        STOP)
            stopped "$server"
            # Which starts no more of them: PostgreSQL has a process for each connection.
            for child in $(children); do stopped "$child"; done
            echo done ;;
        CONT) kill -s CONT $(children) "$server"; echo done ;;
        *) kill -s "$word" "$server"; wait "$server"; server=; echo done ;;
    esac
done
if [ -n "$server" ]; then
    kill -s CONT $(children) "$server"
    kill -s "$stop" "$server"
    wait "$server"
fi
rm -rf "$folder"
"#;

#[derive(Debug)]
pub(crate) struct Keeper {
    /// The shell beside the server; it belongs to this process, which ends it.
    shell: Child,
    // `None` when it must end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Keeper {
    /// `stop` is the signal that ends the server, gracefully if possible.
    pub(crate) fn new(
        folder: PathBuf,
        user: &User,
        stop: &str,
        server: &mut Command,
    ) -> Result<Self, ServerError> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "keeper"]).arg(&folder).arg(stop);
        shell.arg(server.get_program()).args(server.get_args());
        // Ctrl-C goes to the tests; they end this process.
        shell.process_group(0);
        shell.current_dir(&folder);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        shell.stderr(Stdio::null());
        user.applied_to(&mut shell);
        let mut shell = shell.spawn()?;
        let (orders, answers) = (shell.stdin.take(), shell.stdout.take());
        let answers = BufReader::new(answers.expect("it is piped"));
        Ok(Self {
            shell,
            orders,
            answers,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// An order, and its answer.
    pub(crate) fn order(&mut self, word: &str) -> Result<String, ServerError> {
        let orders = self.orders.as_mut().expect("it is there until the end");
        writeln!(orders, "{word}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }

    /// Starts the server if it has ended, and waits until `ready`.
    pub(crate) fn keep_running(&mut self, ready: impl FnMut() -> bool) -> Result<(), ServerError> {
        if self.order("alive")? == "yes" {
            return self.wait(ready);
        }
        self.start(ready)
    }

    /// Starts the server, and waits until `ready`. A server that ends meanwhile is started again,
    /// as the remains of its last run may need some time to go.
    pub(crate) fn start(&mut self, ready: impl FnMut() -> bool) -> Result<(), ServerError> {
        self.order("start")?;
        self.wait(ready)
    }

    fn wait(&mut self, mut ready: impl FnMut() -> bool) -> Result<(), ServerError> {
        let end = Instant::now() + AGES;
        while !ready() {
            if Instant::now() >= end {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(ServerError::failed(format!(
                    "a server did not start within {AGES:?}; its log:\n{log}"
                )));
            }
            thread::sleep(Duration::from_millis(20));
            if self.order("alive")? == "no" {
                self.order("start")?;
            }
        }
        Ok(())
    }
}

impl Keeper {
    /// The end of the pipe that keeps the server: when the last holder closes it, the server stops.
    pub(crate) fn hand_over(mut self) -> OwnedFd {
        let orders = self.orders.take();
        orders.expect("it is there until the end").into()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // If it was handed over, its new holder ends it.
        if self.orders.take().is_some() {
            // An error cannot be reported: there is no waiter any more.
            let _ = self.shell.wait();
        }
    }
}

/// The user for servers: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User(Option<(u32, u32)>);

impl User {
    /// A private folder and its user. As root the user is `postgres`, or `nobody`.
    pub(crate) fn with_folder() -> Result<(PathBuf, Self), ServerError> {
        let folder = tempfile::Builder::new()
            .prefix("fourway-server-")
            .tempdir()?;
        let root = fs::metadata(folder.path())?.uid() == 0;
        let user = if root {
            Self::unprivileged()?
        } else {
            Self(None)
        };
        user.owns(folder.path())?;
        // From here on the keeper removes it.
        Ok((folder.keep(), user))
    }

    fn unprivileged() -> Result<Self, ServerError> {
        let users = fs::read_to_string("/etc/passwd")?;
        let ids = |name: &str| {
            let line = users
                .lines()
                .find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            let mut next = || fields.next()?.parse().ok();
            Some((next()?, next()?))
        };
        let found = ids("postgres").or_else(|| ids("nobody"));
        match found {
            Some(ids) => Ok(Self(Some(ids))),
            None => Err(ServerError::failed(
                "there is no unprivileged user to run servers: neither `postgres` nor `nobody`",
            )),
        }
    }

    pub(crate) fn owns(self, path: &Path) -> Result<(), ServerError> {
        if let Some((user, group)) = self.0 {
            chown(path, Some(user), Some(group))?;
        }
        Ok(())
    }

    pub(crate) fn applied_to(self, command: &mut Command) {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
    }
}

/// A port of the loopback that was free a moment ago.
///
/// It is none of those that the system gives: a test beside this one would get it from there before
/// the server has begun, or while the server is between two starts.
pub(crate) fn free_port() -> Result<u16, ServerError> {
    let given = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first_given = given.ok().and_then(|range| {
        let first = range.split_whitespace().next()?;
        first.parse::<u16>().ok()
    });
    // Without that file the range is the one of RFC 6335, from 49,152 on, or the system's own.
    let first_given = first_given.unwrap_or(32_768);
    for _ in 0..1000 {
        let random = RandomState::new().build_hasher().finish() % u64::from(u16::MAX);
        let port = random as u16;
        let is_ours = (FIRST_PORT..first_given).contains(&port);
        if is_ours && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    // A machine that gives nearly all of them.
    let socket = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(socket.local_addr()?.port())
}

/// Below it, services have their numbers.
const FIRST_PORT: u16 = 10_000;

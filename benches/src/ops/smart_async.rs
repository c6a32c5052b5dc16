//! SmartAsync, the Python decorator for the four scenarios, beside fourway's attribute.

use std::{
    hint::black_box,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use fourway_core::{Call, Runtime};
use fourway_macros::calls;

use super::timed;
use crate::{
    operation::{Contender, Operation, Setting},
    peers::{self, Fourway, Started, Tasks},
};

const SECTION: &str = "SmartAsync";

pub(super) fn operations() -> Vec<Operation> {
    let operation = |name, times, scenario: Scenario| {
        Operation::new(SECTION, name, times, move |setting| {
            contenders(setting, scenario)
        })
        .note(
            "a method that returns 1, called through the decorator, and by `#[calls]`, which clones \
             the library's handle for each call",
        )
    };
    vec![
        operation("sync → async", 200, Scenario::SyncToAsync),
        operation("sync → sync", 10_000, Scenario::SyncToSync),
        operation("async → async", 10_000, Scenario::AsyncToAsync),
        operation("async → sync", 500, Scenario::AsyncToSync),
    ]
}

#[derive(Clone, Copy)]
enum Scenario {
    SyncToAsync,
    SyncToSync,
    AsyncToAsync,
    AsyncToSync,
}

impl Scenario {
    /// As the script calls it.
    fn name(self) -> &'static str {
        match self {
            Self::SyncToAsync => "sync_to_async",
            Self::SyncToSync => "sync_to_sync",
            Self::AsyncToAsync => "async_to_async",
            Self::AsyncToSync => "async_to_sync",
        }
    }
}

fn contenders(setting: &Setting, scenario: Scenario) -> io::Result<Vec<Contender>> {
    let mut script = Script::start(&setting.python)?;
    Ok(vec![
        Contender::new(script.name.clone(), false, move |times| {
            Ok(vec![script.ask(scenario.name(), times)?])
        }),
        ours(peers::threads()?, scenario),
        ours(peers::on_tokio()?, scenario),
    ])
}

/// The same as in the script: a method of each kind.
#[derive(Clone)]
struct Library<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Library<R> {
    async fn waits(&self) -> u64 {
        black_box(1)
    }

    #[blocking]
    fn blocks(&self) -> u64 {
        black_box(1)
    }
}

fn ours<R: Runtime>(started: Started<Fourway<R>>, scenario: Scenario) -> Contender {
    /// Operations of nanoseconds are done more often, because of the clock's resolution.
    const MORE: u32 = 100;
    let contender = timed(started, move |peer, times| {
        let library = Library { rt: peer.0.clone() };
        match scenario {
            Scenario::SyncToAsync => {
                for _ in 0..times * MORE {
                    black_box(library.waits().wait());
                }
            }
            Scenario::SyncToSync => {
                for _ in 0..times * MORE {
                    black_box(library.blocks().wait());
                }
            }
            Scenario::AsyncToAsync => peer.in_task(async move {
                for _ in 0..times * MORE {
                    black_box(library.waits().await);
                }
            }),
            Scenario::AsyncToSync => peer.in_task(async move {
                for _ in 0..times {
                    black_box(library.blocks().await);
                }
            }),
        }
    });
    let more = match scenario {
        Scenario::AsyncToSync => 1.0,
        _ => f64::from(MORE),
    };
    let Contender { name, ours, run } = contender;
    let mut run = run;
    Contender::new(name, ours, move |times| {
        let values = run(times)?;
        Ok(values.into_iter().map(|value| value / more).collect())
    })
}

/// The script, in a Python process that runs as long as it gets requests.
struct Script {
    name: String,
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Script {
    fn start(python: &Path) -> io::Result<Self> {
        let missing = |why: String| {
            let python = python.display();
            io::Error::other(format!(
                "{python}: {why} (`pip install smartasync`, and `--python PROGRAM`)"
            ))
        };
        let mut child = Command::new(python)
            .args(["-c", include_str!("smart_async.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| missing(error.to_string()))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(missing(String::from("has no standard input or output")));
        };
        let mut script = Self {
            name: String::new(),
            child,
            questions,
            answers: BufReader::new(answers),
        };
        script.name = script
            .answer()
            .map_err(|_| missing(String::from("has no SmartAsync")))?;
        Ok(script)
    }

    fn ask(&mut self, scenario: &str, times: u32) -> io::Result<f64> {
        writeln!(self.questions, "{scenario} {times}")?;
        self.questions.flush()?;
        self.answer()?.parse().map_err(io::Error::other)
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

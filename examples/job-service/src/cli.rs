//! The same jobs without a server: a plain program, on the runtime of plain threads.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
};

use fourway::std_thread::StdThread;
use fourway_jobs::{EventKind, JobManager};

use crate::{
    task::{self, Submission},
    work::{Root, Toolbox},
};

/// Does all the work, several jobs at a time, and prints each outcome as a line of JSON, in the
/// order of the arguments. Reports progress on the standard error.
///
/// # Errors
///
/// If a job failed, or the root is no folder.
pub fn run(
    root: Root,
    at_once: usize,
    submissions: &[Submission],
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let rt = StdThread::new()?;
    let jobs: JobManager = task::manager(&rt, at_once).build();
    let toolbox = Toolbox::new(rt, root);
    let mut events = jobs.subscribe(1024);
    let mut handles = Vec::new();
    for submission in submissions {
        submission.check()?;
        handles.push(submission.submit(&jobs, &toolbox)?);
    }
    let is_terminal = io::stderr().is_terminal();
    let mut left = handles.len();
    while left > 0 {
        // No server, no async code: this thread waits.
        let Some(event) = events.wait()? else { break };
        // Only the newest events are kept, so the end of a job may be lost.
        if events.lost() > 0 {
            left = handles.iter().filter(|job| unfinished(job)).count();
        }
        match event.kind {
            EventKind::State { to, .. } => {
                if to.is_finished() {
                    left = handles.iter().filter(|job| unfinished(job)).count();
                }
                eprintln!("{} {to}", event.id);
            }
            EventKind::Progress {
                fraction: Some(fraction),
            } if is_terminal => {
                eprint!("{} {:3.0} %\r", event.id, fraction * 100.0);
            }
            _ => {}
        }
    }
    let mut failed = None;
    for handle in handles {
        match handle.wait() {
            Ok(outcome) => writeln!(out, "{}", serde_json::to_string(&outcome)?)?,
            Err(error) => {
                eprintln!("{error}");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn unfinished<T: Send + 'static>(job: &fourway_jobs::JobHandle<T>) -> bool {
    job.state().is_some_and(|state| !state.is_finished())
}

//! Child processes of the benches, for measurements that need their own process.

use std::{
    env, io, mem,
    process::{Command, Stdio},
};

use crate::{allocations, ops};

/// Makes a child process measure `WHAT/CONTENDER/NUMBER`.
///
/// # Errors
///
/// If it cannot be started, or does not answer.
pub(crate) fn child(what: &str) -> io::Result<Vec<f64>> {
    let output = Command::new(env::current_exe()?)
        .args(["--child", what])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "the child process for {what} ended with {}",
            output.status
        )));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// In the child: measures, and prints the values.
///
/// # Errors
///
/// If the contender cannot be started, or is unknown.
pub(crate) fn run(what: &str) -> io::Result<()> {
    let mut parts = what.split('/');
    let (Some(kind), Some(contender), Some(number)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(unknown(what));
    };
    let number = number.parse().map_err(io::Error::other)?;
    allocations::count();
    let values = match kind {
        "task" => ops::memory::task(contender, number)?,
        "runtime" => ops::memory::runtime(contender, number)?,
        "job" => ops::jobs::kept(contender, number)?,
        "idle" => ops::idle::idle(contender, number)?,
        _ => return Err(unknown(kind)),
    };
    println!("{}", serde_json::to_string(&values)?);
    Ok(())
}

/// Gives the values. The measured objects stay until the process ends, as destroying a million
/// tasks takes longer than everything else.
#[allow(
    clippy::unnecessary_wraps,
    reason = "it closes functions that can fail"
)]
pub(crate) fn leave<T>(values: &[f64], measured: T) -> io::Result<Vec<f64>> {
    mem::forget(measured);
    Ok(values.to_vec())
}

pub(crate) fn unknown(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("there is nothing called `{name}` to be measured"),
    )
}

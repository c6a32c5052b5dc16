//! A command line: sync code, which waits. It starts no runtime.
//!
//! Exit codes: 0, done; 1, it failed, or the key is not there; 2, the arguments are wrong.

use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use fourway::{Ambient, prelude::*};
use kv::Store;

/// Keys and values in a file.
#[derive(Parser)]
struct Arguments {
    /// The file; made if there is none.
    file: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prints the value of a key.
    Get { key: String },
    /// Sets the value of a key.
    Put { key: String, value: String },
    /// Removes a key.
    Delete { key: String },
    /// Prints the keys, or those that begin so.
    List {
        #[arg(default_value = "")]
        prefix: String,
    },
}

fn main() -> ExitCode {
    let Arguments { file, action } = Arguments::parse();
    match run(&Store::new(Ambient, file), &action) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the key was there.
fn run(store: &Store<Ambient>, action: &Action) -> Result<bool, Box<dyn Error>> {
    Ok(match action {
        Action::Get { key } => match store.get(key).wait()? {
            Some(value) => {
                print(&[value])?;
                true
            }
            None => false,
        },
        Action::Put { key, value } => {
            store.put(key, value).wait()?;
            true
        }
        Action::Delete { key } => store.delete(key).wait()?,
        Action::List { prefix } => {
            print(&store.keys(prefix).wait()?)?;
            true
        }
    })
}

/// Prints until the reader closes the pipe, as `head` does.
fn print(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            result => result?,
        }
    }
    Ok(())
}

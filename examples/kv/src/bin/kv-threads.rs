//! A program with plain threads: each counts up in the store, with a plain call.
//!
//! `kv-threads FILE THREADS TIMES`

use std::{env, error::Error, thread};

use fourway::{Ambient, prelude::*};
use kv::Store;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, threads, times] = &arguments[..] else {
        eprintln!("usage: kv-threads FILE THREADS TIMES");
        std::process::exit(2);
    };
    let (threads, times): (usize, usize) = (threads.parse()?, times.parse()?);
    let store = Store::new(Ambient, file);
    let count_up = || {
        for _ in 0..times {
            store.update("counter", next).wait()?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(count_up)).collect();
        let mut results = threads.into_iter().map(|thread| thread.join());
        results
            .try_for_each(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
    .map_err(|error: kv::Error| error)?;
    println!("{}", store.get("counter").wait()?.unwrap_or_default());
    Ok(())
}

fn next(value: Option<String>) -> Option<String> {
    let number: u64 = value.and_then(|text| text.parse().ok()).unwrap_or(0);
    Some((number + 1).to_string())
}

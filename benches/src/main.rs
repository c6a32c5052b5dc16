//! fourway side by side with its peers, in one process.
//!
//! See `benches/README.md`.

mod allocations;
mod arguments;
mod claims;
mod format;
mod machine;
mod measure;
mod operation;
mod ops;
mod page;
mod peers;
mod plot;
mod process;
mod promise;
mod report;
mod statistics;
mod table;

use std::{collections::BTreeMap, fs, io, process::ExitCode};

use clap::Parser;

use crate::{
    arguments::Arguments,
    machine::Machine,
    operation::Setting,
    report::{ROUNDS, Report, Skipped},
};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all promises were kept, if `--check` was given.
fn run(arguments: &Arguments) -> io::Result<bool> {
    if let Some(what) = &arguments.child {
        process::run(what)?;
        return Ok(true);
    }
    if arguments.list {
        for operation in ops::all() {
            println!("{}: {}", operation.section, operation.name);
        }
        return Ok(true);
    }
    if let Some(contender) = &arguments.profile {
        profile(contender, arguments)?;
        return Ok(true);
    }
    let report = match &arguments.from {
        Some(path) => Report::read(path)?,
        None => measured(arguments),
    };
    println!("{}", table::figures(&report));
    println!("{}", table::promises(&report));
    for skipped in &report.skipped {
        eprintln!("skipped: {}: {}", skipped.what, skipped.why);
    }
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    let plots = match &arguments.svg {
        Some(folder) => plot::write(&report, folder)?,
        None => BTreeMap::new(),
    };
    if let Some(path) = &arguments.page {
        let page = page::render(&report, path, &plots).map_err(io::Error::other)?;
        fs::write(path, page)?;
    }
    let missed = report.missed();
    for line in &missed {
        eprintln!("missed: {line}");
    }
    Ok(!arguments.check || missed.is_empty())
}

/// Does only the work of one contender.
///
/// # Errors
///
/// If there is no such operation or contender.
fn profile(contender: &str, arguments: &Arguments) -> io::Result<()> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let unknown = |what: &str| io::Error::new(io::ErrorKind::NotFound, what.to_owned());
    let operation = ops::all()
        .into_iter()
        .find(|operation| format!("{}: {}", operation.section, operation.name).contains(filter))
        .ok_or_else(|| {
            unknown(&format!(
                "no operation has {filter:?} in its name; see --list"
            ))
        })?;
    let mut contenders = (operation.start)(&setting(arguments))?;
    let names: Vec<_> = contenders.iter().map(|known| known.name.clone()).collect();
    let chosen = contenders.iter_mut().find(|known| known.name == contender);
    let chosen = chosen.ok_or_else(|| {
        unknown(&format!(
            "{:?} has no contender {contender:?}, but: {}",
            operation.name,
            names.join(", ")
        ))
    })?;
    (chosen.run)(arguments.times)?;
    Ok(())
}

fn setting(arguments: &Arguments) -> Setting {
    Setting {
        quick: arguments.quick,
        python: arguments.python.clone(),
    }
}

fn measured(arguments: &Arguments) -> Report {
    let setting = setting(arguments);
    let mut report = Report {
        command: machine::command(),
        rounds: arguments.rounds,
        quick: arguments.quick,
        machine: Machine::here(),
        versions: machine::versions(),
        series: Vec::new(),
        skipped: Vec::new(),
    };
    let wanted = |text: &str| {
        let filter = arguments.filter.as_deref();
        filter.is_none_or(|filter| text.contains(filter))
    };
    if cfg!(not(feature = "peers")) {
        report.skipped.push(Skipped {
            what: String::from("agnostic, async_executors, async-rt"),
            why: String::from("the benches were built without `--features peers`"),
        });
    }
    if report.is_a_look() {
        eprintln!("note: promises are made for {ROUNDS} rounds or more, without --quick");
    }
    for operation in ops::all() {
        if !wanted(operation.name) && !wanted(operation.section) {
            continue;
        }
        let name = format!("{}: {}", operation.section, operation.name);
        eprintln!("{name} …");
        match measure::measure(operation, &setting, arguments.rounds) {
            Ok(series) => report.series.extend(series),
            Err(error) => report.skipped.push(Skipped {
                what: name,
                why: error.to_string(),
            }),
        }
    }
    report
}

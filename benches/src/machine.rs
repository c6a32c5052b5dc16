//! The machine and the build of the benches.

use std::{env, fs, thread};

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: Option<u64>,
    pub(crate) system: String,
}

impl Machine {
    /// This machine. Facts that the system has in no file stay unknown.
    pub(crate) fn here() -> Self {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kibibytes = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kibibytes.map(|kibibytes| (kibibytes + (1 << 19)) >> 20),
            system: format!(
                "{} {} {}",
                env::consts::OS,
                env::consts::ARCH,
                kernel.trim()
            ),
        }
    }
}

/// The compiler and the crates that are compared, from the lock file.
pub(crate) fn versions() -> Vec<(String, String)> {
    const COMPARED: [&str; 15] = [
        "fourway-core",
        "agnostic",
        "async-executor",
        "async-rt",
        "async_executors",
        "blocking",
        "futures-executor",
        "futures-lite",
        "oneshot",
        "pollster",
        "rayon",
        "smol",
        "threadpool",
        "tokio",
        "async-io",
    ];
    let lock = include_str!("../../Cargo.lock");
    let mut versions = vec![(
        "rustc".to_owned(),
        env!("FOURWAY_BENCHES_RUSTC")
            .trim_start_matches("rustc ")
            .to_owned(),
    )];
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        let Some(name) = value(line, "name") else {
            continue;
        };
        let version = lines.next().and_then(|line| value(line, "version"));
        let version = version.filter(|_| COMPARED.contains(&name));
        versions.extend(version.map(|version| (name.to_owned(), version.to_owned())));
    }
    versions
}

/// The value of a line `key = "value"`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?
        .strip_prefix(" = \"")?
        .strip_suffix('"')
}

/// The command of this run, as typed.
pub(crate) fn command() -> String {
    let mut command = String::from("cargo run ");
    match env!("FOURWAY_BENCHES_PROFILE") {
        "debug" => {}
        "release" => command += "--release ",
        profile => command += &format!("--profile {profile} "),
    }
    command += "-p fourway-benches ";
    if cfg!(feature = "peers") {
        command += "--features peers ";
    }
    command += "--";
    for argument in env::args().skip(1) {
        command.push(' ');
        if argument.contains([' ', '*', '$', '\'']) {
            command += &format!("{argument:?}");
        } else {
            command += &argument;
        }
    }
    command
}

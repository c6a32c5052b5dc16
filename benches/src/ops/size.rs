//! The size that a runtime adds to a program.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::operation::{Contender, Metric, Operation, Setting, bytes};

const SIZE: &[Metric] = &[bytes("size")];

/// The programs in `benches/sizes`.
const PROGRAMS: [(&str, &str, bool); 5] = [
    ("Tokio", "size-tokio", false),
    ("smol", "size-smol", false),
    ("fourway", "size-fourway", true),
    ("fourway on Tokio", "size-fourway-tokio", true),
    ("fourway on smol", "size-fourway-smol", true),
];
/// The baseline: the same program with a thread of the standard library.
const BARE: &str = "size-bare";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("Size", "a program", 1, programs)
            .metrics(SIZE)
            .at_most_rounds(1)
            .without_warm_up()
            .note(
                "that spawns a task, offloads a closure and prints a number: what it has beyond \
                 one that starts a thread of the standard library for it. Thin link-time \
                 optimisation, no symbols",
            ),
    ]
}

fn programs(setting: &Setting) -> io::Result<Vec<Contender>> {
    if setting.quick {
        return Err(io::Error::other("it takes minutes; not with --quick"));
    }
    let folder = build()?;
    let bare = size(&folder, BARE)?;
    let contender = |(name, program, ours): (&'static str, &str, bool)| {
        let beyond = size(&folder, program)?.saturating_sub(bare) as f64;
        Ok(Contender::new(name, ours, move |_| Ok(vec![beyond])))
    };
    PROGRAMS.into_iter().map(contender).collect()
}

/// Builds all of them, and gives their folder.
fn build() -> io::Result<PathBuf> {
    let exe = env::current_exe()?;
    let target = exe
        .ancestors()
        .nth(2)
        .ok_or_else(|| io::Error::other("the benches are not in cargo's target folder"))?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--locked", "--profile", "lto"])
        .args(["--config", "profile.lto.strip=\"symbols\""])
        .args(["--features", "sizes", "--bin", BARE])
        .arg("--target-dir")
        .arg(target);
    for (_, program, _) in PROGRAMS {
        cargo.args(["--bin", program]);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(io::Error::other(format!("cargo ended with {status}")));
    }
    Ok(target.join("lto"))
}

fn size(folder: &Path, program: &str) -> io::Result<u64> {
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    Ok(fs::metadata(folder.join(file))?.len())
}

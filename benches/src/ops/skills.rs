//! The skill library of the examples: what it costs to write it on fourway, and what
//! it brings to load files several at once.

use std::{
    fs,
    hint::black_box,
    io,
    path::{Path, PathBuf},
};

use fourway_core::{BlockOn, Call, Runtime, Spawner};
use skillkit::{Problem, Skill, Skills};

use super::{plain, timed};
use crate::{
    operation::{Contender, Operation},
    peers::{self, Started},
};

const SECTION: &str = "A skill library";

const PLAIN: &str = "plain functions";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "parse one file", 500, |_| one()).note(
            "`skillkit` of the examples, one of its bundled files, which the system has cached; \
             the plain function reads and parses in the same way, without fourway",
        ),
        Operation::new(SECTION, "parse all files", 5, |_| all()).note(
            "all bundled files, found by the library: one after the other with plain functions, \
             one after the other with `.wait()`, and eight at once with `gather`",
        ),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/skillkit/skills")
}

/// What the library does with a file, by hand.
fn read(path: &Path) -> io::Result<Result<Skill, Problem>> {
    black_box(fs::metadata(path)?.len());
    Ok(skillkit::parse_bytes(path, &fs::read(path)?))
}

fn one() -> io::Result<Vec<Contender>> {
    let path = folder().join("craft/commit-message/SKILL.md");
    let by_hand = path.clone();
    read(&path)?.map_err(|problem| io::Error::other(problem.to_string()))?;
    fn waits<R: Runtime>(runtime: R, path: &Path, name: &'static str) -> Contender {
        let (skills, path) = (Skills::new(runtime, folder()), path.to_owned());
        plain(name, true, move |times| {
            for _ in 0..times {
                black_box(skills.parse(&path).wait().is_ok());
            }
        })
    }
    let threads = peers::threads()?.peer.0;
    let skills = Skills::new(threads.clone(), folder());
    let awaited = path.clone();
    Ok(vec![
        plain(PLAIN, false, move |times| {
            for _ in 0..times {
                black_box(read(&by_hand).is_ok());
            }
        }),
        waits(threads.clone(), &path, ".wait(), fourway"),
        plain(".await, fourway", true, move |times| {
            let (skills, path) = (skills.clone(), awaited.clone());
            let task = threads.spawn(async move {
                for _ in 0..times {
                    black_box(skills.parse(&path).await.is_ok());
                }
            });
            threads.block_on(task).expect("no task panics");
        }),
    ])
}

fn all() -> io::Result<Vec<Contender>> {
    fn gathers<R: Runtime>(started: Started<peers::Fourway<R>>, name: &'static str) -> Contender {
        timed(started.named(name), |peer, times| {
            let skills = Skills::new(peer.0.clone(), folder());
            for _ in 0..times {
                black_box(skills.gather().wait().is_ok());
            }
        })
    }
    let threads = peers::threads()?.peer.0;
    let skills = Skills::new(threads, folder());
    let other = skills.clone();
    Ok(vec![
        plain(PLAIN, false, move |times| {
            for _ in 0..times {
                for path in other.discover().wait().unwrap_or_default() {
                    black_box(read(&path).is_ok());
                }
            }
        }),
        plain(".wait(), fourway", true, move |times| {
            for _ in 0..times {
                for path in skills.discover().wait().unwrap_or_default() {
                    black_box(skills.parse(&path).wait().is_ok());
                }
            }
        }),
        gathers(peers::threads()?, "gather, fourway"),
        gathers(peers::on_tokio()?, "gather, fourway on Tokio"),
        gathers(peers::on_smol()?, "gather, fourway on smol"),
    ])
}

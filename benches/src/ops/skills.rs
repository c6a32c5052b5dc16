//! The skill library of the examples: the cost of writing it on fourway, and the gain of loading
//! several files at once.

use std::{
    hint::black_box,
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Call, Runtime, Spawner};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use skillkit::{Problem, Reader, SIZE_LIMIT, Skill, Skills};

use super::{plain, timed};
use crate::{
    operation::{Contender, Operation},
    peers::{self, Started},
    promise::Promise,
};

const SECTION: &str = "A skill library";

const PLAIN: &str = "plain functions";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "parse one file", 500, |_| one()).note(
            "`skillkit` of the examples, one of its bundled files, which the system has cached; \
             the plain function reads and parses in the same way, without fourway",
        ),
        Operation::new(SECTION, "parse all files", 5, |_| all(skillkit::read))
            .note(
                "all bundled files, found by the library: one after the other with plain \
                 functions, one after the other with `.wait()`, and eight at once with `gather`; \
                 `par_iter` has a thread a processor; it begins when all files \
                 are found, and `gather` with the first one",
            )
            .promise(Promise::ratio("gather, fourway", PAR_ITER, 1.00))
            .promise(Promise::ratio("gather, fourway on Tokio", PAR_ITER, 1.00))
            .promise(Promise::ratio("gather, fourway on smol", PAR_ITER, 1.00)),
        Operation::new(SECTION, "parse all files, slow", 1, |_| all(slow_read))
            .note("the same, where each file takes 1 ms more, as from a slow disk")
            .promise(Promise::ratio("gather, fourway", PLAIN, 0.20))
            .promise(Promise::ratio("gather, fourway on Tokio", PLAIN, 0.20))
            .promise(Promise::ratio("gather, fourway on smol", PLAIN, 0.20)),
    ]
}

const PAR_ITER: &str = "rayon's par_iter";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/skillkit/skills")
}

/// As from a slow disk: the thread is blocked, and the processor free.
fn slow_read(path: &Path, size_limit: u64) -> Result<Skill, Problem> {
    thread::sleep(Duration::from_millis(1));
    skillkit::read(path, size_limit)
}

fn one() -> io::Result<Vec<Contender>> {
    let path = folder().join("craft/commit-message/SKILL.md");
    let by_hand = path.clone();
    skillkit::read(&path, SIZE_LIMIT).map_err(io::Error::other)?;
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
                black_box(skillkit::read(&by_hand, SIZE_LIMIT).is_ok());
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

fn all(reader: Reader) -> io::Result<Vec<Contender>> {
    fn gathers<R: Runtime>(
        started: Started<peers::Fourway<R>>,
        name: &'static str,
        reader: Reader,
    ) -> Contender {
        timed(started.named(name), move |peer, times| {
            let skills = Skills::new(peer.0.clone(), folder()).reader(reader);
            for _ in 0..times {
                black_box(skills.gather().wait().is_ok());
            }
        })
    }
    let found = || skillkit::discover(&folder()).unwrap_or_default();
    let read = move |path: PathBuf| {
        let result = reader(&path, SIZE_LIMIT);
        (path, result)
    };
    let threads = peers::threads()?.peer.0;
    let skills = Skills::new(threads, folder()).reader(reader);
    Ok(vec![
        plain(PLAIN, false, move |times| {
            for _ in 0..times {
                let results = found().into_iter().map(read).collect();
                black_box(skillkit::collect(results));
            }
        }),
        plain(PAR_ITER, false, move |times| {
            for _ in 0..times {
                let results = found().into_par_iter().map(read).collect();
                black_box(skillkit::collect(results));
            }
        }),
        plain(".wait(), fourway", true, move |times| {
            for _ in 0..times {
                for path in skills.discover().wait().unwrap_or_default() {
                    black_box(skills.parse(&path).wait().is_ok());
                }
            }
        }),
        gathers(peers::threads()?, "gather, fourway", reader),
        gathers(peers::on_tokio()?, "gather, fourway on Tokio", reader),
        gathers(peers::on_smol()?, "gather, fourway on smol", reader),
    ])
}

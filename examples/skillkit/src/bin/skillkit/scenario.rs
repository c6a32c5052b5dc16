//! The ways to load everything in a folder: with the library, and by hand.

use std::path::{Path, PathBuf};

use fourway::{AnyRuntime, prelude::*};
use skillkit::{Collection, Reader, Skills, collect};

use crate::by_hand::ByHand;

pub(crate) type Outcome = Result<Collection, Box<dyn std::error::Error>>;

/// A runtime, the library on it, and the handwritten code for it.
pub(crate) struct On {
    pub(crate) runtime: AnyRuntime,
    pub(crate) skills: Skills,
    pub(crate) by_hand: ByHand,
    pub(crate) folder: PathBuf,
    pub(crate) at_once: usize,
    pub(crate) reader: Reader,
}

/// One way to load everything in the folder.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&On) -> Outcome,
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sync → blocking",
        run: |on| {
            let paths = on.skills.discover().wait()?;
            let parse = |path: PathBuf| {
                let result = on.skills.parse(&path).wait();
                (path, result)
            };
            Ok(collect(paths.into_iter().map(parse).collect()))
        },
    },
    Scenario {
        name: "async → blocking",
        run: |on| {
            on.runtime.block_on(async {
                let mut results = Vec::new();
                for path in on.skills.discover().await? {
                    let result = on.skills.parse(&path).await;
                    results.push((path, result));
                }
                Ok(collect(results))
            })
        },
    },
    Scenario {
        name: "nested",
        run: |on| {
            // A closure that blocks on a call, which offloads again.
            let skills = on.skills.clone();
            let closure = on.runtime.offload(move || skills.gather().wait());
            Ok(on.runtime.block_on(closure)??)
        },
    },
    Scenario {
        name: "gather, sync",
        run: |on| Ok(on.skills.gather().wait()?),
    },
    Scenario {
        name: "gather, async",
        run: |on| on.runtime.block_on(async { Ok(on.skills.gather().await?) }),
    },
    Scenario {
        name: "… by hand",
        run: |on| {
            let paths = skillkit::discover(&on.folder)?;
            Ok(collect(on.by_hand.share(paths, on.reader, on.at_once)?))
        },
    },
    Scenario {
        name: "in parallel",
        run: |on| {
            let paths = on.skills.discover().wait()?;
            let tasks: Vec<_> = paths
                .into_iter()
                .map(|path| {
                    let task = on.skills.parse(&path).spawn();
                    (path, task)
                })
                .collect();
            on.runtime.block_on(async {
                let mut results = Vec::new();
                for (path, task) in tasks {
                    results.push((path, task.await?));
                }
                Ok(collect(results))
            })
        },
    },
    Scenario {
        name: "… by hand",
        run: |on| {
            let paths = skillkit::discover(&on.folder)?;
            Ok(collect(on.by_hand.each(paths, on.reader)?))
        },
    },
];

/// The baseline: the library's work as a plain loop.
pub(crate) fn plain(folder: &Path, reader: Reader) -> Outcome {
    let read = |path: PathBuf| {
        let result = reader(&path, skillkit::SIZE_LIMIT);
        (path, result)
    };
    let paths = skillkit::discover(folder)?;
    Ok(collect(paths.into_iter().map(read).collect()))
}

//! Code written by hand for one runtime, with its own API.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use skillkit::{Problem, Reader, SIZE_LIMIT, Skill};

type Error = Box<dyn std::error::Error>;

/// A file and its result.
pub(crate) type Read = (PathBuf, Result<Skill, Problem>);

pub(crate) enum ByHand {
    /// `spawn_blocking`
    #[cfg(feature = "tokio")]
    Tokio(tokio::runtime::Runtime),
    /// `unblock`
    #[cfg(feature = "smol")]
    Smol,
    /// A thread for each closure.
    Threads,
}

impl ByHand {
    /// For the runtime of that name.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        match name {
            #[cfg(feature = "tokio")]
            "tokio" => tokio::runtime::Runtime::new().map(Self::Tokio),
            #[cfg(feature = "smol")]
            "smol" => Ok(Self::Smol),
            _ => Ok(Self::Threads),
        }
    }

    /// A closure for each file.
    pub(crate) fn each(&self, paths: Vec<PathBuf>, reader: Reader) -> Result<Vec<Read>, Error> {
        let read = |path: PathBuf| {
            move || {
                let result = reader(&path, SIZE_LIMIT);
                (path, result)
            }
        };
        self.run(paths.into_iter().map(read))
    }

    /// This many closures, each of which takes one file after the other.
    pub(crate) fn share(
        &self,
        paths: Vec<PathBuf>,
        reader: Reader,
        closures: usize,
    ) -> Result<Vec<Read>, Error> {
        let shared = Arc::new((paths, AtomicUsize::new(0)));
        let share = |_| {
            let shared = Arc::clone(&shared);
            move || {
                let (paths, next) = &*shared;
                let mut results = Vec::new();
                loop {
                    // Relaxed: it only gives out numbers.
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(at) else {
                        return results;
                    };
                    results.push((at, (path.clone(), reader(path, SIZE_LIMIT))));
                }
            }
        };
        let shares = self.run((0..closures).map(share))?;
        let mut results: Vec<_> = shares.into_iter().flatten().collect();
        results.sort_unstable_by_key(|(at, _)| *at);
        Ok(results.into_iter().map(|(_, read)| read).collect())
    }

    /// Runs the closures, and gives their results in the same order.
    fn run<T, F>(&self, closures: impl Iterator<Item = F>) -> Result<Vec<T>, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(runtime) => runtime.block_on(async {
                let tasks: Vec<_> = closures.map(tokio::task::spawn_blocking).collect();
                let mut results = Vec::new();
                for task in tasks {
                    results.push(task.await?);
                }
                Ok(results)
            }),
            #[cfg(feature = "smol")]
            Self::Smol => smol::block_on(async {
                let tasks: Vec<_> = closures.map(smol::unblock).collect();
                let mut results = Vec::new();
                for task in tasks {
                    results.push(task.await);
                }
                Ok(results)
            }),
            Self::Threads => {
                let threads: Vec<_> = closures.map(thread::spawn).collect();
                let results = threads.into_iter().map(|thread| {
                    let result = thread.join();
                    result.map_err(|_| Error::from("a thread panicked"))
                });
                results.collect()
            }
        }
    }
}

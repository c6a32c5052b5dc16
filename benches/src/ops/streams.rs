//! Bodies that give many values: the cost of an item for an async caller, beside a plain loop.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use fourway_core::{BlockOn, Offload, Runtime, Spawner};
use fourway_macros::calls;
use fourway_streams::Items;
use tempfile::TempDir;

use super::{plain, timed};
use crate::{
    operation::{Contender, Operation},
    peers::{self, Fourway, Started},
    promise::Promise,
};

const SECTION: &str = "Many values";

/// How many items each contender takes in a round.
const ITEMS: u32 = 1_000_000;

/// How many items a hand-written thread hands over at once: at most as many as [`Items`] do by
/// default.
const BATCH: usize = 1024;

const PLAIN: &str = "a plain loop";
const BY_HAND: &str = "a thread, and batches by a channel";
const ITERATED: &str = "iterated, fourway";
const AWAITED: [&str; 3] = [
    ".next().await, fourway",
    ".next().await, fourway on Tokio",
    ".next().await, fourway on smol",
];

pub(super) fn operations() -> Vec<Operation> {
    let promised = |mut operation: Operation| {
        for contender in AWAITED {
            operation = operation.promise(Promise::ratio(contender, PLAIN, 1.30));
        }
        operation
            .promise(Promise::ratio(ITERATED, PLAIN, 1.05))
            .lead()
    };
    vec![
        promised(
            Operation::new(SECTION, "the lines of a file", ITEMS, |_| {
                contenders::<Lines>()
            })
            .note(
                "a million lines, read as they are asked for, each a `String`; the time is that \
                 of one. The library's method is a blocking iterator by `#[calls]`, which async \
                 callers have read ahead on the pool; beside it batches of 1024 that a thread sends to \
                 another, the least that a hand-over of them costs",
            ),
        ),
        promised(
            Operation::new(SECTION, "the files of a folder", ITEMS, |_| {
                contenders::<Walk>()
            })
            .note(
                "the same with the paths of 10,000 files in 100 folders, which the system has \
                 cached, walked a hundred times",
            ),
        ),
        Operation::new(SECTION, "one hand-over each", 10_000, |_| one_by_one()).note(
            "the same lines, where async code offloads the reading of each by itself: what \
             reading ahead avoids",
        ),
    ]
}

/// A source of a million items, in a folder.
trait Source: Sized + Send + Sync + 'static {
    type Item: Send + 'static;

    /// Fills the folder.
    fn fill(folder: &Path) -> io::Result<()>;

    fn items(folder: PathBuf) -> impl Iterator<Item = Self::Item> + Send + 'static;

    /// Looks at an item.
    fn size(item: &Self::Item) -> usize;
}

struct Lines;

impl Source for Lines {
    type Item = io::Result<String>;

    fn fill(folder: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(folder.join("lines"))?);
        for number in 0..ITEMS {
            writeln!(file, "{number}: a line of a log, as long as such lines are")?;
        }
        file.flush()
    }

    fn items(folder: PathBuf) -> impl Iterator<Item = Self::Item> + Send + 'static {
        let file = File::open(folder.join("lines")).expect("it has been made");
        BufReader::new(file).lines()
    }

    fn size(item: &Self::Item) -> usize {
        item.as_ref().map_or(0, String::len)
    }
}

struct Walk;

const FOLDERS: u32 = 100;
const WALKS: u32 = 100;

impl Source for Walk {
    type Item = io::Result<PathBuf>;

    fn fill(folder: &Path) -> io::Result<()> {
        for number in 0..FOLDERS {
            let below = folder.join(format!("folder-{number}"));
            fs::create_dir(&below)?;
            for number in 0..ITEMS / WALKS / FOLDERS {
                File::create(below.join(format!("file-{number}")))?;
            }
        }
        Ok(())
    }

    fn items(folder: PathBuf) -> impl Iterator<Item = Self::Item> + Send + 'static {
        let folders = (0..WALKS).flat_map(move |_| entries(&folder));
        folders.flat_map(|folder| entries(&folder.expect("it has been made")))
    }

    fn size(item: &Self::Item) -> usize {
        item.as_ref().map_or(0, |path| path.as_os_str().len())
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = io::Result<PathBuf>> + use<> {
    let entries = fs::read_dir(folder).expect("it has been made");
    entries.map(|entry| Ok(entry?.path()))
}

/// A library whose method gives the items.
#[derive(Clone)]
struct Library<R> {
    rt: R,
    folder: Arc<TempDir>,
}

#[calls]
impl<R: Runtime> Library<R> {
    #[blocking]
    fn items<S: Source>(&self) -> Items<S::Item> {
        S::items(self.folder.path().to_owned())
    }
}

fn contenders<S: Source>() -> io::Result<Vec<Contender>> {
    let folder = Arc::new(TempDir::new()?);
    S::fill(folder.path())?;
    let [threads, tokio, smol] = AWAITED;
    Ok(vec![
        plain(PLAIN, false, {
            let folder = folder.clone();
            move |times| {
                let mut sum = 0;
                for item in S::items(folder.path().to_owned()).take(times as usize) {
                    sum += S::size(&item);
                }
                black_box(sum);
            }
        }),
        plain(BY_HAND, false, {
            let folder = folder.clone();
            move |times| by_hand::<S>(folder.path().to_owned(), times as usize)
        }),
        timed(peers::threads()?.named(ITERATED), {
            let folder = folder.clone();
            move |peer, times| {
                let (rt, folder) = (peer.0.clone(), folder.clone());
                let items = Library { rt, folder }.items::<S>();
                let mut sum = 0;
                for item in items.into_iter().take(times as usize) {
                    sum += S::size(&item);
                }
                black_box(sum);
            }
        }),
        awaited::<S, _>(peers::threads()?.named(threads), &folder),
        awaited::<S, _>(peers::on_tokio()?.named(tokio), &folder),
        awaited::<S, _>(peers::on_smol()?.named(smol), &folder),
    ])
}

fn by_hand<S: Source>(folder: PathBuf, times: usize) {
    let (to, from) = mpsc::sync_channel(1);
    let producer = thread::spawn(move || {
        let mut items = S::items(folder).take(times);
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            batch.extend(items.by_ref().take(BATCH));
            if batch.is_empty() || to.send(batch).is_err() {
                return;
            }
        }
    });
    let sizes = from.into_iter().flatten().map(|item| S::size(&item));
    black_box(sizes.sum::<usize>());
    producer.join().expect("it does not panic");
}

/// By a task, as a server would.
fn awaited<S: Source, R: Runtime>(
    started: Started<Fourway<R>>,
    folder: &Arc<TempDir>,
) -> Contender {
    let folder = folder.clone();
    timed(started, move |peer, times| {
        let (rt, folder) = (peer.0.clone(), folder.clone());
        let mut items = Library { rt, folder }.items::<S>();
        let task = peer.0.spawn(async move {
            let mut sum = 0;
            for _ in 0..times {
                match items.next().await {
                    Some(item) => sum += S::size(&item),
                    None => break,
                }
            }
            sum
        });
        black_box(peer.0.block_on(task).expect("no task panics"));
    })
}

fn one_by_one() -> io::Result<Vec<Contender>> {
    let folder = Arc::new(TempDir::new()?);
    Lines::fill(folder.path())?;
    let by_tokio = folder.clone();
    let by_threads = folder.clone();
    Ok(vec![
        timed(
            peers::tokio()?.named("spawn_blocking, Tokio"),
            move |peer, times| {
                let mut lines = Lines::items(by_tokio.path().to_owned());
                peer.0.block_on(async move {
                    for _ in 0..times {
                        let read = tokio::task::spawn_blocking(move || (lines.next(), lines));
                        let (line, rest) = read.await.expect("nothing panics");
                        lines = rest;
                        black_box(line.as_ref().map_or(0, Lines::size));
                    }
                });
            },
        ),
        timed(
            peers::threads()?.named("offload, fourway"),
            move |peer, times| {
                let mut lines = Lines::items(by_threads.path().to_owned());
                let rt = peer.0.clone();
                let task = peer.0.spawn(async move {
                    for _ in 0..times {
                        let read = rt.offload(move || (lines.next(), lines));
                        let (line, rest) = read.await.expect("nothing panics");
                        lines = rest;
                        black_box(line.as_ref().map_or(0, Lines::size));
                    }
                });
                peer.0.block_on(task).expect("no task panics");
            },
        ),
        awaited::<Lines, _>(peers::threads()?.named(AWAITED[0]), &folder),
    ])
}

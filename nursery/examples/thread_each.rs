//! A runtime for each thread: the threads of a sync nursery, which share nothing, each run a
//! nursery on an event loop of their own; the first failure ends all of them.
//!
//! ```console
//! $ cargo run -p fourway-nursery --example thread_each -- /usr/share /usr/lib
//! ```

mod library;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fourway_core::Runtime;
use fourway_nursery::{Nursery, NurseryError, SyncNursery};
use fourway_tokio::Tokio;
use library::Folders;

fn main() -> Result<(), NurseryError<io::Error>> {
    let mut roots: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    if roots.is_empty() {
        roots.push(".".into());
    }
    let host = fourway_std_thread::StdThread::new().expect("threads are to be had");
    let runtime = || Tokio::builder().current_thread().build();
    for (root, files) in roots.iter().zip(count(&host, runtime, &roots)?) {
        println!("{files} files under {}", root.display());
    }
    Ok(())
}

/// `runtime` makes that of a thread.
pub(crate) fn count<H: Runtime, R: Runtime>(
    host: &H,
    runtime: impl Fn() -> io::Result<R> + Sync,
    roots: &[PathBuf],
) -> Result<Vec<u64>, NurseryError<io::Error>> {
    SyncNursery::builder(host)
        .limit(4)
        // Of the nurseries inside as well, because the token is the current one of each thread.
        .timeout(Duration::from_secs(10))
        .try_collect(|n| {
            for root in roots {
                let runtime = &runtime;
                n.spawn(move || {
                    let rt = runtime()?;
                    Ok(rt.block_on(files(&rt, root))?)
                });
            }
            Ok(())
        })
}

/// How many files there are under `root`: the folders right below it, all at once.
async fn files<R: Runtime>(rt: &R, root: &Path) -> Result<u64, NurseryError<io::Error>> {
    let folders = Folders::new(rt.clone());
    let listing = folders.list(root).await;
    let nursery = Nursery::builder(rt).limit(8);
    let below = nursery.try_collect(async |n| {
        let listing = listing?;
        n.spawn(async move { Ok(listing.files) });
        for folder in listing.folders {
            let folders = folders.clone();
            n.spawn(async move {
                let (mut files, mut left) = (0, vec![folder]);
                while let Some(folder) = left.pop() {
                    let listing = folders.list(&folder).await?;
                    files += listing.files;
                    left.extend(listing.folders);
                }
                Ok(files)
            });
        }
        Ok(())
    });
    Ok(below.await?.into_iter().sum())
}

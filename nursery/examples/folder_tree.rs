//! A fan-out over a folder tree, eight folders at a time, with a deadline.
//!
//! ```console
//! $ cargo run -p fourway-nursery --example folder_tree -- /usr/share
//! ```

mod library;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fourway_core::{BlockOn, Runtime};
use fourway_nursery::{Nursery, NurseryError};
use library::Folders;

fn main() -> Result<(), NurseryError<io::Error>> {
    let rt = fourway_std_thread::StdThread::new().expect("threads are to be had");
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    let (files, bytes) = rt.block_on(tree(&rt, &root))?;
    println!("{files} files, {bytes} bytes under {}", root.display());
    Ok(())
}

/// Files and bytes under `root`; ten seconds for all of it.
pub(crate) async fn tree<R: Runtime>(
    rt: &R,
    root: &Path,
) -> Result<(u64, u64), NurseryError<io::Error>> {
    let folders = Folders::new(rt.clone());
    let nursery = Nursery::builder(rt)
        .limit(8)
        .timeout(Duration::from_secs(10));
    nursery
        .run(async |n| {
            let mut results = n.results();
            results.call(folders.list(root));
            let (mut files, mut bytes) = (0, 0);
            while let Some(result) = results.next().await {
                let listing = match result {
                    Ok(listing) => listing,
                    // The deadline: the nursery reports what is missing.
                    Err(error) if error.is_cancelled() => continue,
                    Err(error) => return Err(io::Error::other(error.to_string())),
                };
                files += listing.files;
                bytes += listing.bytes;
                for folder in listing.folders {
                    results.call(folders.list(&folder));
                }
            }
            Ok((files, bytes))
        })
        .await
}

//! A sync batch tool on the same library: no async code, no event loop; four threads that
//! borrow, and end when the first fails.
//!
//! ```console
//! $ cargo run -p fourway-nursery --example batch -- /usr/share /usr/lib
//! ```

mod library;

use std::{io, path::PathBuf};

use fourway_core::{Runtime, call::Call, cancel};
use fourway_nursery::{NurseryError, SyncNursery};
use library::Folders;

fn main() -> Result<(), NurseryError<io::Error>> {
    let rt = fourway_std_thread::StdThread::new().expect("threads are to be had");
    let mut roots: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    if roots.is_empty() {
        roots.push(".".into());
    }
    for (root, files) in roots.iter().zip(count(&rt, &roots)?) {
        println!("{files} files under {}", root.display());
    }
    Ok(())
}

pub(crate) fn count<R: Runtime>(
    rt: &R,
    roots: &[PathBuf],
) -> Result<Vec<u64>, NurseryError<io::Error>> {
    let folders = Folders::new(rt.clone());
    SyncNursery::builder(rt).limit(4).try_collect(|n| {
        for root in roots {
            let folders = &folders;
            n.spawn(move || {
                let (mut files, mut left) = (0, vec![root.clone()]);
                while let Some(folder) = left.pop() {
                    // Ends this one when another has failed.
                    cancel::check()?;
                    let mut listing = folders.list(&folder).wait()?;
                    files += listing.files;
                    left.append(&mut listing.folders);
                }
                Ok(files)
            });
        }
        Ok(())
    })
}

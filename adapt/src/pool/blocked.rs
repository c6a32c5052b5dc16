//! Are the pool's threads blocked, or do they only wait for a processor?
//!
//! A queue that stands still on a busy machine looks the same either way, and more
//! threads would only make it worse. Linux says what its threads are doing; elsewhere
//! they are taken to be blocked.

use std::{io, path::PathBuf, sync::PoisonError};

use crate::sync::Mutex;

/// The threads that serve a pool, as the system knows them.
#[derive(Debug, Default)]
pub(super) struct Serving {
    stats: Mutex<Vec<PathBuf>>,
}

impl Serving {
    /// The calling thread serves the pool, until the guard is dropped.
    pub(super) fn enter(&self) -> Entered<'_> {
        let modelled = cfg!(any(fourway_shuttle, fourway_loom));
        let stat = if cfg!(target_os = "linux") && !modelled {
            own_stat().ok()
        } else {
            None
        };
        if let Some(stat) = &stat {
            let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
            stats.push(stat.clone());
        }
        Entered {
            serving: self,
            stat,
        }
    }

    /// How many of them run or wait for a processor, as far as `up_to`. `None` if the
    /// system does not say.
    pub(super) fn runnable(&self, up_to: usize) -> Option<usize> {
        let stats = self.stats.lock();
        let stats = stats.unwrap_or_else(PoisonError::into_inner).clone();
        if stats.is_empty() {
            return None;
        }
        let runnable = stats.iter().filter(|stat| is_runnable(stat));
        Some(runnable.take(up_to).count())
    }
}

/// Where the system describes the calling thread.
fn own_stat() -> io::Result<PathBuf> {
    // A link to `PID/task/TID`.
    let thread = std::fs::read_link("/proc/thread-self")?;
    let mut stat = PathBuf::from("/proc");
    stat.push(thread);
    stat.push("stat");
    Ok(stat)
}

fn is_runnable(stat: &PathBuf) -> bool {
    // The state comes after the name, which is in brackets and may contain anything.
    std::fs::read(stat).is_ok_and(|text| {
        let after = text.iter().rposition(|byte| *byte == b')');
        let state = after.and_then(|after| text.get(after + 2));
        state == Some(&b'R')
    })
}

/// Made by [`Serving::enter`].
pub(super) struct Entered<'a> {
    serving: &'a Serving,
    stat: Option<PathBuf>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(stat) = self.stat.take() {
            let stats = self.serving.stats.lock();
            let mut stats = stats.unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = stats.iter().position(|known| *known == stat) {
                stats.swap_remove(at);
            }
        }
    }
}

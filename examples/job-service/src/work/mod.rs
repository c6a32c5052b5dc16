//! The library half: real work, written once, for any caller.
//!
//! It names no runtime, no server and no job manager. Each kind of work has a blocking and an async
//! body, to show that a caller need not care: both are [`Call`]s, both report their progress, and
//! both end early once the [current token](fourway_core::cancel::current) is cancelled.

mod error;
mod folder;
mod index;
mod pack;
mod search;

use std::collections::VecDeque;

use fourway_core::{AnyRuntime, Call};

pub use error::Error;
pub use folder::Root;
pub use index::{Entry, Index};
pub use pack::Pack;
pub(crate) use search::check;
pub use search::{LIMIT, Longest};

/// The kinds of work, below one folder.
#[derive(Clone, Debug)]
pub struct Toolbox<R = AnyRuntime> {
    rt: R,
    root: Root,
}

impl<R> Toolbox<R> {
    /// Work on that runtime, which reads nothing outside of `root`.
    pub fn new(rt: R, root: Root) -> Self {
        Self { rt, root }
    }

    /// The folder that all work stays below.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

/// Receives the progress of the work.
pub trait Progress: Clone + Send + Sync + 'static {
    /// From 0 to 1.
    fn fraction(&self, fraction: f64);

    /// The current step.
    fn message(&self, message: &str);

    /// Adds to a counter.
    fn count(&self, what: &str, by: u64);
}

/// Ignores the progress.
impl Progress for () {
    fn fraction(&self, _: f64) {}

    fn message(&self, _: &str) {}

    fn count(&self, _: &str, _: u64) {}
}

/// `done` of `all`, as a fraction.
fn share(done: u64, all: u64) -> f64 {
    if all == 0 {
        1.0
    } else {
        done as f64 / all as f64
    }
}

/// Starts a call for each item, a few at a time, and gives the outputs in the order of the items.
/// If it is dropped half-way, or at the first error, it drops the running calls; the others never
/// begin.
async fn several<I, C>(
    items: I,
    start: impl Fn(&I::Item) -> C,
    mut ended: impl FnMut(I::Item, C::Output) -> Result<(), Error>,
) -> Result<(), Error>
where
    I: IntoIterator,
    C: Call,
{
    let at_once = std::thread::available_parallelism().map_or(4, usize::from);
    let (mut items, mut running) = (items.into_iter(), VecDeque::new());
    loop {
        while running.len() < at_once.max(2) {
            let Some(item) = items.next() else { break };
            running.push_back((start(&item).spawn(), item));
        }
        let Some((task, item)) = running.pop_front() else {
            return Ok(());
        };
        ended(item, task.await?)?;
    }
}

//! The project's own engines.

mod places;
#[cfg(unix)]
mod small_disk;

use std::process::ExitCode;

use fourway_jobs_acceptance::Entry;
use places::{File, InMemory};

fn main() -> ExitCode {
    let memory = Entry::new("memory", || Box::new(InMemory::default()));
    let sqlite = Entry::new("sqlite", || Box::new(File::new())).elsewhere(places::open);
    #[cfg(unix)]
    let sqlite = small_disk::harming(sqlite);
    #[cfg(not(unix))]
    let sqlite = sqlite.not_harmed_here([fourway_jobs_acceptance::Harm::FullDisk]);
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ENGINES.md");
    fourway_jobs_acceptance::main_recorded(vec![memory, sqlite], table)
}

//! The rules NE-1 to NE-5 as cases, on every runtime: `fourway-net-acceptance`, whose own tests
//! show that each case catches sockets with its fault.
//!
//! Tests that need their own process are beside it: what else fails without descriptors
//! (`tests/exhausted.rs`), a forked child (`tests/fork.rs`), the end of a process (`tests/ends.rs`).

use std::process::ExitCode;

use fourway_net_acceptance::Entry;
use fourway_testing::runtimes;

fn main() -> ExitCode {
    // New runtimes each time: a case may shut them down.
    let entries = runtimes()
        .into_iter()
        .enumerate()
        .map(|(at, (name, _))| Entry::runtime(name, move || runtimes().swap_remove(at).1));
    fourway_net_acceptance::main(entries.collect())
}

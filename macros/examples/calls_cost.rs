//! Calls by the attribute and by hand, for callgrind: see `benches/instructions`.
//!
//! ```text
//! calls_cost "by hand" wait 1000
//! ```

#[path = "../tests/cost/libraries.rs"]
mod libraries;

use libraries::{COLUMNS, WAYS, run};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, column, times] = &arguments[..] else {
        eprintln!("usage: calls_cost WAY COLUMN TIMES; ways: {WAYS:?}, columns: {COLUMNS:?}");
        std::process::exit(2);
    };
    let times = times.parse().expect("a number of times");
    run(way, column, times, || 0);
}

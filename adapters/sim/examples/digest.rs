//! Is the same seed the same run? Each seed is run twice here, and all traces of all seeds are one
//! number, which is to be the same in debug and release and on every machine.
//!
//! ```console
//! $ cargo run -p fourway-sim --example digest
//! $ cargo run --release -p fourway-sim --example digest
//! ```

#[path = "../tests/program/mod.rs"]
mod program;

use program::{add, twice};

fn main() {
    let seeds = std::env::args().nth(1);
    let seeds = seeds.map_or(10_000, |text| text.parse().expect("a number of seeds"));
    let (mut digest, mut events, mut choices) = (0, 0, 0);
    for seed in 0..seeds {
        let run = twice(seed);
        digest = add(digest, run.trace.hash());
        events += run.trace.count();
        choices += run.trace.choice_count();
    }
    println!(
        "{seeds} seeds, twice each: {events} events, {choices} choices, digest {digest:#018x}"
    );
}

// A library that asks for less than a whole runtime.
//~ `NotOne` is not a runtime: it cannot spawn tasks

use fourway_core::Spawner;

struct NotOne;

fn library(_: impl Spawner) {}

fn main() {
    library(NotOne);
}

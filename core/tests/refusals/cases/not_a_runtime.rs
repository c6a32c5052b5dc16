// A type that is given in place of a runtime.
//~ `NotOne` is not a runtime
//~ `fourway::default_runtime()`

use fourway_core::Runtime;

struct NotOne;

fn library(_: impl Runtime) {}

fn main() {
    library(NotOne);
}

// The result of a constructor, in place of the runtime in it.
//~ `Result<AnyRuntime, std::io::Error>` is not a runtime
//~ take the runtime out of it with `?`
//~ once is not a runtime

use fourway_core::{AnyRuntime, Runtime};

fn library(_: impl Runtime) {}

fn new() -> std::io::Result<AnyRuntime> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn main() {
    library(new());
}

// Nothing happens.
//~ a call does nothing unless you `.wait()`, `.await` or `.spawn()` it

#![deny(unused_must_use)]

use fourway_core::{Runtime, call::Call};

fn library<R: Runtime>(rt: &R) -> impl Call<Output = ()> + use<R> {
    rt.call_blocking(|| ())
}

pub fn forgets(rt: &impl Runtime) {
    library(rt);
}

fn main() {}

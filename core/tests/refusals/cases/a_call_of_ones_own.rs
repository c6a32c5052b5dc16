// `Call` is sealed.
//~ is not a call
//~ `Call` is sealed

use fourway_core::Call;
use std::future::{Ready, ready};

struct Mine;

impl IntoFuture for Mine {
    type Output = u32;
    type IntoFuture = Ready<u32>;

    fn into_future(self) -> Ready<u32> {
        ready(1)
    }
}

impl Call for Mine {}

fn main() {}

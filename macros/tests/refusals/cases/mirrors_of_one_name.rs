// The two mirrors are two modules.
//~ give them two names
//~ line 13

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls(mirror(blocking = mirror, asynchronous = mirror))]
impl<R: Runtime> Library<R> {
    pub async fn one(&self) {}
}

fn main() {}

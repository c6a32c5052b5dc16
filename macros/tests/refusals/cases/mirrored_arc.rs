// A mirror owns its base, and has no `Arc` of it.
//~ a mirror has no `Arc` of its base: take `&self` or `self`
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;
use std::sync::Arc;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls(mirror)]
impl<R: Runtime> Library<R> {
    pub async fn one(self: Arc<Self>) {}
}

fn main() {}

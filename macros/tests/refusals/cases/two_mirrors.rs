// Both types have a module `blocking`.
//~ `blocking_is_taken__another_block_of_its_type_has_mirror_more__another_type_has_mirror_with_names`
//~ line 25

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct One<R> {
    rt: R,
}

#[derive(Clone)]
pub struct Two<R> {
    rt: R,
}

#[calls(mirror)]
impl<R: Runtime> One<R> {
    pub async fn one(&self) {}
}

// The second type needs other names for the modules of its mirrors.

#[calls(mirror)]
impl<R: Runtime> Two<R> {
    pub async fn two(&self) {}
}

fn main() {}

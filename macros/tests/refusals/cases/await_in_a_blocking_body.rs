// A blocking body is not async code.
//~ E0728
//~ `await` is only allowed inside `async`
//~ line 19

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    #[blocking]
    pub fn one(&self) -> u32 {
        std::future::ready(1).await
    }
}

fn main() {}

// The macro cannot evaluate the condition of an argument.
//~ write the method twice, each under a `#[cfg(..)]`
//~ line 15

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn one(&self, #[cfg(unix)] number: u32) {}
}

fn main() {}

// The compiler has no such type yet.
//~ write `std::convert::Infallible`
//~ line 14

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}
#[calls]
impl<R: Runtime> Library<R> {
    pub async fn forever(&self) -> ! {
        loop {}
    }
}

fn main() {}

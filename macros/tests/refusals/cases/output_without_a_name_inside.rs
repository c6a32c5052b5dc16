// A type without a name inside of another.
//~ the output of a call has a type with a name
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Library<R> {
    #[blocking]
    pub fn one(&self) -> Result<impl Iterator<Item = u32>, std::io::Error> {
        Ok(0..3)
    }
}

fn main() {}

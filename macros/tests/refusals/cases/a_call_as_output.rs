// The attribute makes the call.
//~ write the output alone, `-> T`
//~ line 17

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
    pub fn one(&self) -> impl fourway_core::Call<Output = u32> {
        1
    }
}

fn main() {}

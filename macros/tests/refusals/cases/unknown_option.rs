// There is no such option.
//~ there is no option `sync`
//~ the options are `runtime = self.field`
//~ line 15

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls(sync)]
impl<R: Runtime> Library<R> {
    #[blocking]
    pub fn one(&self) -> u32 {
        1
    }
}

fn main() {}

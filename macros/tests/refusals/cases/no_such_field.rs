// As in any method.
//~ E0609
//~ no field `txet`
//~ line 18

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn one(&self) -> usize {
        self.txet.len()
    }
}

fn main() {}

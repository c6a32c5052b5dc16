// Macros in bodies are left as they are.
//~ E0609
//~ no field `txet`
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
    pub fn one(&self) -> String {
        format!("{}", self.txet)
    }
}

fn main() {}

// A call can be sent to another thread with its arguments.
//~ cannot be sent between threads safely
//~ Rc<u8>
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
    #[blocking]
    pub fn one(&self, number: std::rc::Rc<u8>) -> u8 {
        *number
    }
}

fn main() {}

// A call would keep the borrow.
//~ cannot keep a `&mut`
//~ Arc<Mutex<..>>
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
    pub async fn fill(&self, into: &mut Vec<u8>) {
        into.push(1);
    }
}

fn main() {}

// The type would contain itself.
//~ mark the method `#[boxed]`
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
    pub async fn down(&self, n: u32) -> u32 {
        match n {
            0 => 0,
            n => self.down(n - 1).await,
        }
    }
}

fn main() {}

// The bodies would be methods of every type.
//~ so it has to be one of your crate
//~ wrap this one in a `struct` of yours
//~ line 19

use fourway_core::AnyRuntime;
use fourway_macros::calls;

pub trait HasRuntime: Clone + Send + Sync + 'static {
    fn rt(&self) -> &AnyRuntime;
}

#[calls]
pub trait Words: Send + Sync {
    async fn count(&self) -> usize;
}

#[calls(runtime = self.rt())]
impl<X: HasRuntime> Words for X {
    async fn count(&self) -> usize {
        1
    }
}

fn main() {}

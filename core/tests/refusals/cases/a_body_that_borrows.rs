// A call outlives the code that makes it; the module `call` shows what to do instead.
//~ E0521
//~ borrowed data escapes outside of method

use fourway_core::{Runtime, call::Call};

pub struct Library<R> {
    rt: R,
    names: Vec<String>,
}

impl<R: Runtime> Library<R> {
    pub fn count(&self) -> impl Call<Output = usize> + use<R> {
        self.rt.call(self.count_names())
    }

    async fn count_names(&self) -> usize {
        self.names.len()
    }
}

fn main() {}

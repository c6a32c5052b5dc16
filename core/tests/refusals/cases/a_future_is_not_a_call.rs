// A future has no runtime to turn to.
//~ is not a call
//~ a runtime makes calls: `rt.call(future)`

use fourway_core::call::Call;

fn use_it(_: impl Call<Output = u32>) {}

fn main() {
    use_it(async { 1 });
}

// A call of any type is a `BoxCall`. What the compiler asks for is no way out, because the trait
// cannot be an object, whatever is specified; it does not let us say so.
//~ E0191
//~ the value of the associated types

use fourway_core::call::Call;

pub fn take(_: Box<dyn Call<Output = u32>>) {}

fn main() {}

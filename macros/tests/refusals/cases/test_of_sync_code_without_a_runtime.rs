// A test of sync code needs a runtime.
//~ gets its runtime as an argument
//~ line 6

#[fourway::test]
fn one() {}

fn main() {}

// On which runtime would it be?
//~ gets its runtime as an argument
//~ line 6

#[fourway::test]
fn one() {}

fn main() {}

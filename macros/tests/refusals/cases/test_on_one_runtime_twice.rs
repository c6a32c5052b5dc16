// It would be there twice.
//~ once this runtime is named already
//~ line 5

#[fourway::test(only(smol, smol))]
async fn one() {}

fn main() {}

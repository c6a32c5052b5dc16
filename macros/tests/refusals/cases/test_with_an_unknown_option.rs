// The message lists the options.
//~ the options are
//~ line 5

#[fourway::test(patience = "10s")]
async fn one() {}

fn main() {}

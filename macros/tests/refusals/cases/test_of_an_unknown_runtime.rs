// There are three runtimes.
//~ the runtimes are `tokio`, `smol` and `std_thread`
//~ line 5

#[fourway::test(only(tokyo))]
async fn one() {}

fn main() {}

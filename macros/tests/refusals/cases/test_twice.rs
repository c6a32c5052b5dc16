// Each test would run twice.
//~ `#[fourway::test]` is here twice
//~ remove one
//~ line 7

#[fourway::test(only(std_thread))]
#[fourway::test]
async fn one() {}

fn main() {}

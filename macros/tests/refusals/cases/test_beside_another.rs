// Each test would run twice.
//~ with this attribute each would run twice
//~ line 6

#[fourway::test]
#[test]
async fn one() {}

fn main() {}

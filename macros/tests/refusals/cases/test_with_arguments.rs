// There is no source for the arguments.
//~ a test takes nothing, or the runtime
//~ `#[rstest]`
//~ line 7

#[fourway::test]
async fn one(rt: fourway::AnyRuntime, number: u32) {}

fn main() {}

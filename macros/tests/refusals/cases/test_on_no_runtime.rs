// It would never run.
//~ a test that leaves out all runtimes never runs
//~ line 5

#[fourway::test(except(tokio, smol, std_thread))]
async fn one() {}

fn main() {}

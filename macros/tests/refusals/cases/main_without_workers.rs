// Nobody would run its tasks.
//~ a runtime has at least one worker
//~ line 5

#[fourway::main(workers = 0)]
async fn main() {}

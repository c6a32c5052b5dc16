/// The test.
pub(crate) fn all_come_back<R: Runtime>(rt: R) {
    let connections = Connections::new(rt.clone());
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (inner, connections) = (rt.clone(), connections.clone());
            rt.spawn(async move { inner.timeout(50 * MS, connections.query()).await })
        })
        .collect();
    for caller in callers {
        let _ = caller.wait();
    }
    // Whoever was late has had the time to end.
    rt.block_on(rt.sleep(200 * MS));
    let free = connections.free.lock().unwrap().len();
    assert!(free == 2, "a connection is lost");
}

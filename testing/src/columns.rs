/// Uses a call that gives a `Result` in every way: waited for, awaited, spawned, and submitted as a
/// job. Gives the result, which must be the same in all of them. Errors are compared by
/// their texts.
///
/// `columns!(&rt, library.method())`: the expression is evaluated once for each way. Its user
/// depends on `fourway-core` and `fourway-jobs`.
///
/// # Panics
///
/// If the results differ.
#[macro_export]
macro_rules! columns {
    ($rt:expr, $call:expr) => {{
        let rt = $rt;
        let waited = ::fourway_core::Call::wait($call).map_err(|error| error.to_string());
        let call = $call;
        let awaited = $crate::run(rt, async { call.await }).map_err(|error| error.to_string());
        let spawned = $crate::run(rt, ::fourway_core::Call::spawn($call)).expect("it is not lost");
        let spawned = spawned.map_err(|error| error.to_string());
        let jobs = ::fourway_jobs::JobManager::new(rt);
        let job = jobs.submit($call).expect("there is room");
        let job = $crate::run(rt, job).map_err(|error| {
            let error = error.into_error().expect("the body has given it");
            error.to_string()
        });
        assert_eq!(waited, awaited, "awaited: {}", stringify!($call));
        assert_eq!(waited, spawned, "spawned: {}", stringify!($call));
        assert_eq!(waited, job, "as a job: {}", stringify!($call));
        waited
    }};
}

/// The same of `Items`: iterated, awaited one by one, spawned, and collected by a job. Each item is
/// mapped to a comparable value.
///
/// # Panics
///
/// If the items differ.
#[macro_export]
macro_rules! items_in_columns {
    ($rt:expr, $items:expr, $comparable:expr) => {{
        let rt = $rt;
        let iterated: Vec<_> = $items.into_iter().map($comparable).collect();
        let mut items = $items;
        let awaited = $crate::run(rt, async {
            let mut all = Vec::new();
            while let Some(item) = items.next().await {
                all.push($comparable(item));
            }
            all
        });
        let spawned = $crate::run(rt, $items.spawn().collect());
        let spawned: Vec<_> = spawned.into_iter().map($comparable).collect();
        let jobs = ::fourway_jobs::JobManager::new(rt);
        let job = jobs.submit($items.collect()).expect("there is room");
        let job = $crate::run(rt, job).expect("it comes to its end");
        let job: Vec<_> = job.into_iter().map($comparable).collect();
        assert_eq!(iterated, awaited, "awaited: {}", stringify!($items));
        assert_eq!(iterated, spawned, "spawned: {}", stringify!($items));
        assert_eq!(iterated, job, "as a job: {}", stringify!($items));
        iterated
    }};
}

//! Engines in forked children: one from before the fork, and one of the child's own.

#![cfg(unix)]

use std::time::Duration;

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_engine::{Engine, Fetch, JobState, NewJob, next_id};
use fourway_jobs_postgres::PostgresEngine;
use fourway_servers::postgres_url;
use fourway_testing::{AGES, any, forked, run};

#[test]
fn a_child_has_engines_of_its_own() {
    let Some(url) = postgres_url() else {
        return;
    };
    let schema = format!("fork_{}", next_id().to_string().to_lowercase());
    let open = |rt: &AnyRuntime| {
        let open = PostgresEngine::builder(rt, &url).schema(&*schema);
        open.relaxed(true).open().wait().unwrap()
    };
    let rt = any();
    let engine = open(&rt);
    let job = NewJob::new("kind", 1, "args");
    let id = job.id;
    run(&rt, engine.submit(vec![job])).unwrap();
    forked((), |()| {
        let rt = any();
        let kinds = vec![("kind".to_owned(), 1)];
        let inherited = [
            run(&rt, engine.status(id)).unwrap_err(),
            run(&rt, engine.fetch(Fetch::new("child", kinds.clone()))).unwrap_err(),
            run(&rt, engine.wait(id, Duration::from_secs(3600))).unwrap_err(),
            run(&rt, engine.maintain()).unwrap_err(),
        ];
        for error in inherited {
            assert!(error.is_closed(), "{error}");
            assert!(error.to_string().contains("forked"), "{error}");
        }
        drop(engine.clone());
        let own = open(&rt);
        let fetched = run(&rt, own.fetch(Fetch::new("child", kinds).lease(AGES * 10)));
        assert_eq!(fetched.unwrap()[0].lease.id, id);
    });
    let job = run(&rt, engine.status(id)).unwrap().unwrap();
    assert_eq!(job.state, JobState::Running);
}

//! Engines in forked children: one from before the fork, and one of the child's own.

#![cfg(unix)]

use std::time::Duration;

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_engine::{Engine, Fetch, JobState, NewJob, next_id};
use fourway_jobs_nats::NatsEngine;
use fourway_servers::nats_url;
use fourway_testing::{AGES, any, forked, run};

#[test]
fn a_child_has_engines_of_its_own() {
    let Some(url) = nats_url() else {
        return;
    };
    let prefix = format!("fork-{}", next_id());
    let open = |rt: &AnyRuntime| {
        let open = NatsEngine::builder(rt, &url).prefix(&*prefix);
        open.open().wait().unwrap()
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
    run(&rt, engine.remove_all()).unwrap();
}

//! The folder of the process changes. Alone in its process, as all tests share the folder.

use fourway_core::Call;
use fourway_jobs_engine::{Engine, NewJob};
use fourway_jobs_sqlite::SqliteEngine;
use fourway_testing::{any, run};

#[test]
fn a_file_stays_where_it_was_opened() {
    let rt = any();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::env::set_current_dir(first.path()).unwrap();
    let open = SqliteEngine::open(&rt, "jobs.db");
    // Also between the call and its first poll.
    std::env::set_current_dir(second.path()).unwrap();
    let engine = open.wait().unwrap();
    assert!(engine.path().is_absolute());
    assert!(engine.path().exists());
    let job = NewJob::new("kind", 1, "");
    let id = job.id;
    run(&rt, engine.submit(vec![job])).unwrap();
    drop(engine);
    let engine = SqliteEngine::open(&rt, first.path().join("jobs.db"));
    let engine = engine.wait().unwrap();
    assert!(run(&rt, engine.status(id)).unwrap().is_some());
    assert_eq!(second.path().read_dir().unwrap().count(), 0);
}

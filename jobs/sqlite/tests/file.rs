//! The behaviour of a file of jobs beyond that of memory.

use std::{path::Path, sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_engine::{
    BoxError, CancelAnswer, Engine, EngineErrorKind, Fetch, Filter, Handlers, JobClient, JobKind,
    JobState, KindJob, NewJob, Submitted, UniqueKey, Verdict, Worker,
};
use fourway_jobs_sqlite::SqliteEngine;
use fourway_testing::{AGES, any, any_tokio, run};
use tempfile::TempDir;

struct Double;

impl JobKind for Double {
    const NAME: &'static str = "double";
    type Args = u64;
    type Output = u64;
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(rt: &AnyRuntime, folder: &TempDir) -> Arc<SqliteEngine> {
    let path = folder.path().join("jobs.db");
    // The test does not depend on the speed of the disk.
    let open = SqliteEngine::builder(rt, path).relaxed(true).open();
    Arc::new(open.wait().unwrap())
}

fn worker(rt: &AnyRuntime, engine: Arc<SqliteEngine>) -> Worker {
    let handlers = Handlers::new().on_blocking(Double, |_, n| Ok::<_, BoxError>(n * 2));
    Worker::builder(rt, engine).handlers(handlers).start()
}

fourway_testing::on_every_runtime!(erased
    jobs_outlive_their_engine
    two_engines_on_one_file_see_each_other
    many_are_listed_counted_and_done
);

fn jobs_outlive_their_engine(rt: AnyRuntime) {
    let folder = folder();
    let engine = open(&rt, &folder);
    let client = JobClient::new(&rt, engine.clone());
    let job = KindJob::new(Double, 21).header("from", "me").unique("once");
    let id = client.submit_job(job).wait().unwrap().id();
    let gone = client.submit(Double, 1).wait().unwrap().id();
    assert_eq!(client.cancel(gone).wait().unwrap(), CancelAnswer::Dequeued);
    drop((client, engine));

    let engine = open(&rt, &folder);
    let client = JobClient::new(&rt, engine.clone());
    let job = client.status(id).wait().unwrap().unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
    assert_eq!(job.headers["from"], "me");
    assert!(
        !client
            .submit_job(KindJob::new(Double, 3).unique("once"))
            .wait()
            .unwrap()
            .is_new()
    );
    let worker = worker(&rt, engine);
    assert_eq!(run(&rt, client.handle(Double, id).output()).unwrap(), 42);
    run(&rt, worker.drain(AGES));
    drop(client);

    let client = JobClient::new(&rt, open(&rt, &folder));
    assert_eq!(client.handle(Double, id).output().wait().unwrap(), 42);
    let counts = client.counts().wait().unwrap();
    assert_eq!(
        (counts.completed, counts.cancelled, counts.total()),
        (1, 1, 2)
    );
}

fn two_engines_on_one_file_see_each_other(rt: AnyRuntime) {
    let folder = folder();
    let (here, there) = (open(&rt, &folder), open(&rt, &folder));
    let _worker = worker(&rt, there);
    let client = JobClient::new(&rt, here);
    for n in 0..3 {
        let job = client.submit(Double, n).wait().unwrap();
        assert_eq!(run(&rt, job.output()).unwrap(), n * 2);
    }
}

fn many_are_listed_counted_and_done(rt: AnyRuntime) {
    let folder = folder();
    let engine = open(&rt, &folder);
    let client = JobClient::new(&rt, engine.clone());
    let jobs = client.submit_all((0..250).map(|n| KindJob::new(Double, n)));
    let mut ids: Vec<_> = jobs.wait().unwrap().iter().map(|job| job.id()).collect();
    ids.reverse();

    let mut found = Vec::new();
    let mut filter = Filter::new().state(JobState::Queued).kind("double");
    loop {
        let page = client.list(filter.clone()).wait().unwrap();
        found.extend(page.jobs.iter().map(|job| job.id));
        match page.next {
            Some(next) => filter = filter.before(next),
            None => break,
        }
    }
    assert_eq!(found, ids);
    let worker = worker(&rt, engine);
    for id in ids {
        run(&rt, client.handle(Double, id).output()).unwrap();
    }
    assert_eq!(client.counts().wait().unwrap().completed, 250);
    run(&rt, worker.drain(AGES));
}

#[test]
fn time_alone_is_noticed() {
    let rt = any_tokio();
    let folder = folder();
    let engine = open(&rt, &folder);
    let mut later = NewJob::new("later", 1, "");
    later.delay = Duration::from_millis(20);
    let mut brief = NewJob::new("brief", 1, "");
    brief.keep = Duration::from_millis(20);
    let (later_id, brief_id) = (later.id, brief.id);
    run(&rt, engine.submit(vec![later, brief])).unwrap();

    let fetch = |kind: &str, lease| {
        let fetch = Fetch::new("w", vec![(kind.to_owned(), 1)])
            .lease(lease)
            .patience(AGES);
        run(&rt, engine.fetch(fetch)).unwrap().remove(0)
    };
    // Its time comes; its lease runs out.
    let first = fetch("later", Duration::from_millis(20));
    assert_eq!(first.lease.id, later_id);
    let second = fetch("later", AGES);
    assert_eq!((second.lease.id, second.attempt), (later_id, 2));
    // It is forgotten.
    let brief = fetch("brief", AGES);
    let verdict = Verdict::Complete(b"1".to_vec());
    run(&rt, engine.settle(vec![(brief.lease, verdict)])).unwrap();
    let gone = || run(&rt, engine.status(brief_id)).unwrap().is_none();
    fourway_testing::eventually("it is forgotten", gone);
    assert_eq!(run(&rt, engine.counts()).unwrap().total(), 1);
}

#[test]
fn what_is_no_file_of_jobs_is_refused() {
    let rt = any();
    let folder = folder();
    let path = folder.path().join("text");
    std::fs::write(
        &path,
        "not a database, but as long as the header of one ".repeat(4),
    )
    .unwrap();
    let error = SqliteEngine::open(&rt, &path).wait().unwrap_err();
    assert!(error.to_string().contains("not a database"), "{error}");
    let error = SqliteEngine::open(&rt, folder.path().join("no/such")).wait();
    assert!(error.unwrap_err().is_unavailable());

    let engine = open(&rt, &folder);
    let connection = rusqlite::Connection::open(engine.path()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteEngine::open(&rt, engine.path()).wait().unwrap_err();
    assert!(error.to_string().contains("a newer program"), "{error}");
}

/// Also a name that SQLite would take for a database in memory, of which each connection has its own.
#[test]
#[cfg(unix)]
fn a_name_is_never_a_uri() {
    let rt = any();
    let folder = tempfile::Builder::new()
        .prefix("file:")
        .tempdir_in(".")
        .unwrap();
    let path = Path::new(folder.path().file_name().unwrap()).join("jobs.db?mode=memory");
    let engine = SqliteEngine::open(&rt, &path).wait().unwrap();
    let job = NewJob::new("kind", 1, "");
    let id = job.id;
    run(&rt, engine.submit(vec![job])).unwrap();
    assert!(run(&rt, engine.status(id)).unwrap().is_some());
    assert!(folder.path().join("jobs.db?mode=memory").exists());
}

/// As a newer program may have written it.
#[test]
fn a_row_that_cannot_be_read_holds_up_nobody() {
    let rt = any();
    let folder = folder();
    let engine = open(&rt, &folder);
    let job = |kind| NewJob::new(kind, 1, "");
    let (waits, held, good) = (job("kind"), job("held"), job("kind"));
    let jobs = vec![waits.clone(), held.clone(), good.clone()];
    run(&rt, engine.submit(jobs)).unwrap();
    let fetch = |kind: &str, max| {
        let fetch = Fetch::new("w", vec![(kind.to_owned(), 1)]).lease(AGES);
        run(&rt, engine.fetch(fetch.max(max)))
    };
    assert_eq!(fetch("held", 1).unwrap()[0].lease.id, held.id);
    let other = rusqlite::Connection::open(engine.path()).unwrap();
    other.busy_timeout(AGES).unwrap();
    for id in [waits.id, held.id] {
        let sql = "UPDATE job SET life = '{\"newer\": true}', lease_until = lease_until - 1000000 \
            WHERE id = ?1";
        assert_eq!(other.execute(sql, [id.to_bytes()]).unwrap(), 1);
    }
    // Maintenance reports it, once for a while.
    let error = run(&rt, engine.maintain()).unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
    run(&rt, engine.maintain()).unwrap();
    // Other jobs of its kind get their turn. A fetch that would get only this job gets an error.
    assert!(!fetch("kind", 1).unwrap_err().is_unavailable());
    let next = fetch("kind", 10).unwrap();
    assert_eq!((next.len(), next[0].lease.id), (1, good.id));
    let counts = run(&rt, engine.counts()).unwrap();
    assert_eq!((counts.scheduled, counts.running), (1, 2));
    assert!(run(&rt, engine.status(waits.id)).is_err());
    // A list shows these jobs beside the others, with an error.
    let page = run(&rt, engine.list(Filter::new())).unwrap();
    let kinds = page.jobs.iter().map(|job| (job.id, &*job.kind));
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [(good.id, "kind"), (held.id, "held"), (waits.id, "kind")]
    );
    let unreadable = page.jobs.iter().map(|job| {
        let error = job.error.as_deref();
        error.is_some_and(|error| error.contains("cannot be read"))
    });
    assert_eq!(unreadable.collect::<Vec<_>>(), [false, true, true]);
    // Counts and lists also include a job in an unknown state.
    let sql = "UPDATE job SET state = 77 WHERE id = ?1";
    assert_eq!(other.execute(sql, [held.id.to_bytes()]).unwrap(), 1);
    let counts = run(&rt, engine.counts()).unwrap();
    assert_eq!((counts.scheduled, counts.running), (2, 1));
    assert_eq!(run(&rt, engine.list(Filter::new())).unwrap().jobs.len(), 3);
}

/// A column that wrongly says that the lease of an unleased job has run out is corrected, and does
/// not cause endless work.
#[test]
fn a_column_that_is_wrong_is_put_right() {
    let rt = any();
    let folder = folder();
    let engine = open(&rt, &folder);
    let job = NewJob::new("kind", 1, "");
    run(&rt, engine.submit(vec![job.clone()])).unwrap();
    let other = rusqlite::Connection::open(engine.path()).unwrap();
    other.busy_timeout(AGES).unwrap();
    let sql = "UPDATE job SET lease_until = 1 WHERE id = ?1";
    assert_eq!(other.execute(sql, [job.id.to_bytes()]).unwrap(), 1);
    run(&rt, engine.maintain()).unwrap();
    let status = run(&rt, engine.status(job.id)).unwrap().unwrap();
    assert_eq!(status.state, JobState::Queued);
    let column: Option<i64> = other
        .query_row("SELECT lease_until FROM job", [], |row| row.get(0))
        .unwrap();
    assert_eq!(column, None);
}

/// A missing table does not concern the request.
#[test]
fn a_table_that_is_gone_refuses_nothing() {
    let rt = any();
    let folder = folder();
    let engine = open(&rt, &folder);
    let other = rusqlite::Connection::open(engine.path()).unwrap();
    other.busy_timeout(AGES).unwrap();
    let submit = || run(&rt, engine.submit(vec![NewJob::new("kind", 1, "")]));
    other
        .execute_batch("ALTER TABLE job RENAME TO elsewhere")
        .unwrap();
    let error = submit().unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Broken, "{error}");
    other
        .execute_batch("ALTER TABLE elsewhere RENAME TO job")
        .unwrap();
    submit().unwrap();
}

/// Also if SQLite notices before the end of the transaction: one that is larger than its cache is
/// written early, and undone by SQLite itself.
#[cfg(unix)]
#[test]
fn a_large_submission_to_a_full_disk_may_work_later() {
    use fourway_servers::SmallDisk;

    if !SmallDisk::is_possible_or_not_run() {
        return;
    }
    let folder = folder();
    let disk = SmallDisk::mount(&folder.path().join("disk"), 4).unwrap();
    let rt = any();
    let engine = SqliteEngine::open(&rt, disk.path().join("jobs.db"));
    let engine = engine.wait().unwrap();
    let jobs = |count: usize, args: usize| {
        let job = || NewJob::new("kind", 1, vec![b'x'; args]);
        (0..count).map(|_| job()).collect::<Vec<_>>()
    };
    for (count, args) in [(1, 6_000_000), (200, 30_000)] {
        let error = run(&rt, engine.submit(jobs(count, args))).unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(error.to_string().contains("full"), "{error}");
    }
    run(&rt, engine.submit(jobs(1, 10))).unwrap();
    assert_eq!(run(&rt, engine.counts()).unwrap().total(), 1);
}

/// As a newer program may have written it.
#[test]
fn a_row_that_had_a_key_and_cannot_be_read_refuses_no_job() {
    let rt = any();
    let folder = folder();
    let engine = open(&rt, &folder);
    let submit = || {
        let mut job = NewJob::new("kind", 1, "");
        let key = "key".to_owned();
        job.unique = Some(UniqueKey { key, within: None });
        let id = job.id;
        (id, run(&rt, engine.submit(vec![job])).unwrap().remove(0))
    };
    let (first, submitted) = submit();
    assert_eq!(submitted, Submitted::New(first));
    let other = rusqlite::Connection::open(engine.path()).unwrap();
    other.busy_timeout(AGES).unwrap();
    let set = |sql: &str| assert_eq!(other.execute(sql, [first.to_bytes()]).unwrap(), 1);
    // It has the key until it has ended.
    set("UPDATE job SET life = '{\"newer\": true}' WHERE id = ?1");
    assert_eq!(submit().1, Submitted::Existing(first));
    set("UPDATE job SET state = 4 WHERE id = ?1");
    let (second, submitted) = submit();
    assert_eq!(submitted, Submitted::New(second));
}

/// As after a fault of the disk, in a file of an older version.
#[test]
fn a_row_that_is_damaged_holds_up_no_file() {
    let rt = any();
    let folder = folder();
    let engine = open(&rt, &folder);
    let path = engine.path().to_owned();
    let keyed = || {
        let mut job = NewJob::new("kind", 1, "");
        let key = "key".to_owned();
        job.unique = Some(UniqueKey { key, within: None });
        job
    };
    let (damaged, good) = (keyed(), NewJob::new("kind", 1, ""));
    run(&rt, engine.submit(vec![damaged.clone(), good.clone()])).unwrap();
    drop(engine);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.busy_timeout(AGES).unwrap();
    other
        .execute_batch("DROP INDEX job_holds; DROP INDEX job_holds_until;")
        .unwrap();
    let sql = "UPDATE job SET life = 'x' WHERE id = ?1";
    assert_eq!(other.execute(sql, [damaged.id.to_bytes()]).unwrap(), 1);
    drop(other);
    let engine = open(&rt, &folder);
    let submitted = run(&rt, engine.submit(vec![keyed()])).unwrap();
    assert_eq!(submitted, [Submitted::Existing(damaged.id)]);
    let fetch = Fetch::new("w", vec![("kind".to_owned(), 1)]);
    let jobs = run(&rt, engine.fetch(fetch.max(10))).unwrap();
    assert_eq!((jobs.len(), jobs[0].lease.id), (1, good.id));
}

/// Each read shows what the due transitions lead to, though none of them can be written.
#[cfg(unix)]
#[test]
fn jobs_are_read_while_the_disk_is_full() {
    use fourway_servers::SmallDisk;

    if !SmallDisk::is_possible_or_not_run() {
        return;
    }
    let folder = folder();
    let disk = SmallDisk::mount(&folder.path().join("disk"), 16).unwrap();
    let rt = any();
    let engine = SqliteEngine::open(&rt, disk.path().join("jobs.db"));
    let engine = engine.wait().unwrap();
    let job = |kind: &str, args: usize, delay| {
        let mut job = NewJob::new(kind, 1, vec![b'x'; args]);
        job.delay = delay;
        job
    };
    let submit = |job: NewJob| run(&rt, engine.submit(vec![job]));
    let soon = Duration::from_secs(1);
    let due = submit(job("due", 1, soon)).unwrap()[0].id();
    let never = submit(job("never", 1, AGES * 10)).unwrap()[0].id();
    let dies = submit(job("dies", 1, Duration::ZERO)).unwrap()[0].id();
    let mut kept = job("done", 1, Duration::ZERO);
    kept.keep = soon;
    let forgotten = submit(kept).unwrap()[0].id();
    let fetch = |kind: &str| Fetch::new("w", vec![(kind.to_owned(), 1)]).lease(soon);
    let leased = run(&rt, engine.fetch(fetch("done"))).unwrap();
    let verdict = Verdict::Complete(Vec::new());
    run(&rt, engine.settle(vec![(leased[0].lease, verdict)])).unwrap();
    assert_eq!(run(&rt, engine.fetch(fetch("dies"))).unwrap().len(), 1);

    // Until there is no room for the smallest change.
    disk.fill().unwrap();
    let mut many = 0;
    for args in [64 * 1024, 1] {
        while submit(job("more", args, AGES * 10)).is_ok() {
            many += 1;
            assert!(many < 10_000, "the disk is full");
        }
    }
    let state = |id| run(&rt, engine.status(id)).unwrap().map(|job| job.state);
    fourway_testing::eventually("it is due", || state(due) == Some(JobState::Queued));
    fourway_testing::eventually("its lease is over", || {
        state(dies) == Some(JobState::Queued)
    });
    fourway_testing::eventually("it is forgotten", || state(forgotten).is_none());
    assert_eq!(state(never), Some(JobState::Scheduled));
    assert_eq!(run(&rt, engine.result(forgotten)).unwrap(), None);
    let queued = Filter::new().state(JobState::Queued);
    let queued = run(&rt, engine.list(queued)).unwrap().jobs;
    let queued: Vec<_> = queued.iter().map(|job| job.id).collect();
    assert_eq!(queued, [dies, due]);
    let counts = run(&rt, engine.counts()).unwrap();
    assert_eq!((counts.queued, counts.scheduled), (2, many + 1));
    let not_written = run(&rt, engine.maintain()).unwrap_err();
    assert!(not_written.is_unavailable(), "{not_written}");

    disk.free().unwrap();
    run(&rt, engine.maintain()).unwrap();
    assert_eq!(state(due), Some(JobState::Queued));
}

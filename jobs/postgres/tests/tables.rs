//! The contents of the tables: many due jobs, and unreadable ones.

#![cfg(unix)]

use std::{sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_engine::{
    Beat, CancelAnswer, Engine, EngineErrorKind, EngineFuture, Fetch, Filter, Held, JobId,
    JobState, Leased, NewJob, Record, Settled, Submitted, UniqueKey, Verdict, next_id,
};
use fourway_jobs_postgres::PostgresEngine;
use fourway_servers::postgres_url;
use fourway_testing::{AGES, any, eventually, run};
use tokio_postgres::NoTls;

/// More than several sweeps of a transaction.
const MANY: usize = 5_000;

/// Long enough to hand all of them out, unless the machine is busy.
const LEASE: Duration = Duration::from_secs(3);

/// Opens an engine in a separate schema.
fn open(rt: &AnyRuntime, url: &str) -> Arc<PostgresEngine> {
    let schema = format!("tables_{}", next_id().to_string().to_lowercase());
    let open = PostgresEngine::builder(rt, url).schema(schema);
    Arc::new(open.relaxed(true).open().wait().unwrap())
}

/// On a busy machine the server may be too slow, and a request is made again, which is harmless.
/// Any other error is the engine's.
fn surely<T>(rt: &AnyRuntime, ask: impl Fn() -> EngineFuture<T>) -> T {
    let mut tries = 0;
    loop {
        match run(rt, ask()) {
            Ok(answer) => return answer,
            Err(error) => {
                let text = error.to_string();
                let slow = ["in time", "timeout", "connection closed", "too long"];
                let slow = slow.iter().any(|word| text.contains(word));
                assert!(error.is_unavailable() && slow && tries < 50, "{error}");
                tries += 1;
            }
        }
    }
}

fn submit(rt: &AnyRuntime, engine: &Arc<PostgresEngine>, job: impl Fn() -> NewJob) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..MANY / 500 {
        let jobs: Vec<_> = (0..500).map(|_| job()).collect();
        ids.extend(jobs.iter().map(|job| job.id));
        surely(rt, || engine.submit(jobs.clone()));
    }
    ids
}

fn job(kind: &str) -> NewJob {
    NewJob::new(kind, 1, "args")
}

fn fetch(kind: &str, max: usize, lease: Duration) -> Fetch {
    let fetch = Fetch::new("test", vec![(kind.to_owned(), 1)]);
    fetch.max(max).lease(lease)
}

/// No worker runs and no client looks for a while.
#[test]
fn many_that_are_due_held_or_over_hide_nothing() {
    let Some(url) = postgres_url() else {
        return;
    };
    let rt = any();
    let engine = open(&rt, &url);
    let ids = submit(&rt, &engine, || {
        let mut job = job("late");
        job.delay = Duration::from_millis(1);
        job.keep = LEASE;
        job.max_attempts = 1000;
        job
    });
    let status = |id| surely(&rt, || engine.status(id));
    let last = *ids.last().unwrap();
    eventually("the last one is due", || {
        status(last).unwrap().state == JobState::Queued
    });
    let (many, counts) = (MANY as u64, || surely(&rt, || engine.counts()));
    assert_eq!((counts().queued, counts().total()), (many, many));
    let mut queued = Filter::new().state(JobState::Queued).limit(1500);
    let mut found = Vec::new();
    loop {
        let page = surely(&rt, || engine.list(queued.clone()));
        assert!(page.jobs.iter().all(|job| job.state == JobState::Queued));
        found.extend(page.jobs.iter().map(|job| job.id));
        match page.next {
            Some(next) => queued = queued.before(next),
            None => break,
        }
    }
    found.reverse();
    assert_eq!(found, ids);
    let scheduled = Filter::new().state(JobState::Scheduled);
    let scheduled = surely(&rt, || engine.list(scheduled.clone()));
    assert_eq!(scheduled.jobs, []);

    // They are handed out, and their leases run out: all at once, unless the machine is busy.
    let some = |lease| surely(&rt, || engine.fetch(fetch("late", 500, lease)));
    for _ in 0..MANY / 500 {
        some(LEASE);
    }
    eventually("all are lost", || counts().queued == many);

    // And they end and are forgotten. Leases whose answer was lost run out.
    while counts().unfinished() > 0 {
        let jobs = some(LEASE);
        let verdict = |job: &Leased| (job.lease, Verdict::Complete(b"out".to_vec()));
        surely(&rt, || engine.settle(jobs.iter().map(verdict).collect()));
    }
    eventually("the last one is forgotten", || status(last).is_none());
    eventually("all are forgotten", || counts().total() == 0);
    assert_eq!(surely(&rt, || engine.result(last)), None);
    let none = surely(&rt, || engine.list(Filter::new()));
    assert_eq!(none.jobs, []);
}

/// As a newer program may have written it.
#[test]
fn a_row_that_cannot_be_read_holds_up_nobody() {
    let Some(url) = postgres_url() else {
        return;
    };
    let rt = any();
    let engine = open(&rt, &url);
    let (waits, held, good) = (job("kind"), job("held"), job("kind"));
    run(
        &rt,
        engine.submit(vec![waits.clone(), held.clone(), good.clone()]),
    )
    .unwrap();
    let lease = run(&rt, engine.fetch(fetch("held", 1, AGES))).unwrap();
    assert_eq!(lease[0].lease.id, held.id);
    let change = |sql: &str, id: JobId| {
        let sql = sql.replace("{schema}", engine.schema());
        execute(&url, &sql, Some(id));
    };
    let write = "UPDATE {schema}.job SET base = '{\"newer\": true}' WHERE id = $1";
    change(write, waits.id);
    change(write, held.id);
    change(
        "UPDATE {schema}.job SET lease_until = 1 WHERE id = $1",
        held.id,
    );

    // Other jobs of its kind get their turn. A fetch that would get only this job gets an error.
    let error = run(&rt, engine.fetch(fetch("kind", 1, AGES))).unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
    let next = run(&rt, engine.fetch(fetch("kind", 10, AGES))).unwrap();
    assert_eq!((next.len(), next[0].lease.id), (1, good.id));
    let counts = run(&rt, engine.counts()).unwrap();
    assert_eq!((counts.scheduled, counts.running), (1, 2));
    // No transition is due for now, so there is no error.
    run(&rt, engine.maintain()).unwrap();
    // A query by its id gets an error; a list shows it beside the others, with the error.
    assert!(run(&rt, engine.status(waits.id)).is_err());
    let page = run(&rt, engine.list(Filter::new())).unwrap();
    let ids: Vec<_> = page.jobs.iter().map(|job| job.id).collect();
    assert_eq!(ids, [good.id, held.id, waits.id]);
    let kinds = page.jobs.iter().map(|job| &*job.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["kind", "held", "kind"]);
    let unreadable = |job: &Record| {
        let error = job.error.as_deref();
        error.is_some_and(|error| error.contains("cannot be read"))
    };
    let unreadable: Vec<_> = page.jobs.iter().map(unreadable).collect();
    assert_eq!(unreadable, [false, true, true]);
    let running = Filter::new().state(JobState::Running).kind("held");
    assert_eq!(run(&rt, engine.list(running)).unwrap().jobs.len(), 1);
}

/// A verdict is written without a look at the job, if nothing has changed it since it was handed out.
#[test]
fn what_others_have_changed_since_it_was_handed_out_counts() {
    let Some(url) = postgres_url() else {
        return;
    };
    let rt = any();
    let engine = open(&rt, &url);
    let schema = engine.schema().to_owned();
    let other = PostgresEngine::builder(&rt, &*url).schema(schema);
    let other = Arc::new(other.open().wait().unwrap());
    let jobs = [(); 4].map(|()| job("kind"));
    let [plain, cancelled, beaten, lost] = jobs.each_ref().map(|job| job.id);
    run(&rt, engine.submit(jobs.to_vec())).unwrap();
    let fetched = run(&rt, engine.fetch(fetch("kind", 4, AGES))).unwrap();
    let ids: Vec<_> = fetched.iter().map(|job| job.lease.id).collect();
    assert_eq!(ids, [plain, cancelled, beaten, lost]);

    // As the row has it: the hand-out is beside the text.
    let status = |id| run(&rt, other.status(id)).unwrap().unwrap();
    let running = status(plain);
    assert_eq!((running.state, running.attempt), (JobState::Running, 1));
    assert_eq!(running.worker.as_deref(), Some("test"));
    assert_eq!(running.attempts.len(), 1);
    assert!(running.lease_until > running.started_at);

    let answer = run(&rt, other.cancel(cancelled)).unwrap();
    assert_eq!(answer, CancelAnswer::Requested);
    let beat = Beat {
        lease: fetched[2].lease,
        progress: None,
    };
    assert_eq!(
        run(&rt, other.heartbeat(vec![beat], AGES)).unwrap(),
        [Held::Yes]
    );
    let release = vec![(fetched[3].lease, Verdict::Release)];
    assert_eq!(
        run(&rt, other.settle(release)).unwrap(),
        [Settled::Recorded]
    );
    let again = run(&rt, other.fetch(fetch("kind", 4, AGES))).unwrap();
    assert_eq!((again.len(), again[0].lease.id), (1, lost));

    // A job that is to be cancelled is not tried again.
    let later = || Verdict::RetryLater {
        delay: AGES,
        error: "not yet".to_owned(),
        timed_out: false,
    };
    let verdicts = fetched.iter().map(|job| (job.lease, later()));
    let settled = run(&rt, engine.settle(verdicts.collect())).unwrap();
    let recorded = Settled::Recorded;
    assert_eq!(settled, [recorded, recorded, recorded, Settled::Lost]);
    let states = [plain, cancelled, beaten, lost].map(|id| status(id).state);
    use JobState::{Cancelled, Retrying, Running};
    assert_eq!(states, [Retrying, Cancelled, Retrying, Running]);
    // Told twice, it counts once.
    let twice = (fetched[0].lease, Verdict::Complete(b"1".to_vec()));
    assert_eq!(run(&rt, engine.settle(vec![twice])).unwrap(), [recorded]);
    assert_eq!(status(plain).state, Retrying);
    let own = (again[0].lease, Verdict::Complete(b"1".to_vec()));
    assert_eq!(run(&rt, engine.settle(vec![own])).unwrap(), [recorded]);
}

/// The first of two jobs must be read, and the other one need not, or the other way round.
#[test]
fn verdicts_lock_their_jobs_in_order() {
    let Some(url) = postgres_url() else {
        return;
    };
    let rt = any();
    let engine = open(&rt, &url);
    let schema = engine.schema().to_owned();
    let other = PostgresEngine::builder(&rt, &*url).schema(&*schema);
    let other = Arc::new(other.open().wait().unwrap());
    for case in ["the second is another's", "the first has changed"] {
        let jobs = [job("kind"), job("kind")];
        let [low, high] = jobs.each_ref().map(|job| job.id);
        run(&rt, engine.submit(jobs.to_vec())).unwrap();
        let mut fetched = run(&rt, engine.fetch(fetch("kind", 1, AGES))).unwrap();
        if case == "the second is another's" {
            fetched.extend(run(&rt, other.fetch(fetch("kind", 1, AGES))).unwrap());
        } else {
            fetched.extend(run(&rt, engine.fetch(fetch("kind", 1, AGES))).unwrap());
            run(&rt, other.cancel(low)).unwrap();
        }
        let ids: Vec<_> = fetched.iter().map(|job| job.lease.id).collect();
        assert_eq!(ids, [low, high]);
        let verdict = |job: &Leased| (job.lease, Verdict::Complete(b"1".to_vec()));
        let verdicts = fetched.iter().map(verdict).collect();

        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let settled = tokio.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            let lock = format!("SELECT FROM {schema}.job WHERE id = $1 FOR UPDATE NOWAIT");
            client.batch_execute("BEGIN").await.unwrap();
            let lock = |id: JobId| {
                let (lock, client) = (&lock, &client);
                async move { client.execute(lock, &[&id.to_bytes().to_vec()]).await }
            };
            assert_eq!(lock(low).await.unwrap(), 1);
            let settle = tokio::spawn(engine.settle(verdicts));
            let waits = "SELECT pg_backend_pid() = ANY (pg_blocking_pids(pid)) \
                FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE NOT granted)";
            loop {
                let waits = client.query(waits, &[]).await.unwrap();
                if waits.iter().any(|row| row.get(0)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // It does not have the second one while it waits for the first.
            assert_eq!(lock(high).await.expect(case), 1);
            client.batch_execute("COMMIT").await.unwrap();
            settle.await.unwrap().unwrap()
        });
        assert_eq!(settled, [Settled::Recorded; 2], "{case}");
    }
}

/// What turns tables of this version into those of version 1.
const TO_1: &str = "
    ALTER TABLE {schema}.job RENAME COLUMN base TO life;
    ALTER TABLE {schema}.job DROP COLUMN leased_in, DROP COLUMN leased_at, DROP COLUMN leased_by;
    ALTER TABLE {schema}.job RESET (fillfactor);
    DROP INDEX {schema}.job_holds, {schema}.job_holds_until, {schema}.job_waits_or_ended;
    CREATE INDEX job_unique ON {schema}.job (kind, unique_key)
        WHERE unique_key IS NOT NULL AND (unique_until IS NOT NULL OR state IN (0, 1, 2, 3));
    CREATE INDEX job_state ON {schema}.job (state, id);
    UPDATE {schema}.meta SET version = 1;
";

#[test]
fn tables_of_an_older_version_are_taken_over() {
    let Some(url) = postgres_url() else {
        return;
    };
    let rt = any();
    let old = open(&rt, &url);
    let schema = old.schema().to_owned();
    let (mut held, mut keyed) = (job("held"), job("keyed"));
    held.max_attempts = 2;
    keyed.unique = Some(UniqueKey {
        key: "key".to_owned(),
        within: Some(AGES * 100),
    });
    let ended = job("ended");
    let all = vec![held.clone(), keyed.clone(), ended.clone()];
    run(&rt, old.submit(all)).unwrap();
    let lease = run(&rt, old.fetch(fetch("held", 1, AGES))).unwrap()[0].lease;
    // In whole, as version 1 writes it.
    let beat = Beat {
        lease,
        progress: None,
    };
    run(&rt, old.heartbeat(vec![beat], AGES * 10)).unwrap();
    let last = run(&rt, old.fetch(fetch("ended", 1, AGES))).unwrap()[0].lease;
    let done = Verdict::Complete(b"out".to_vec());
    run(&rt, old.settle(vec![(last, done)])).unwrap();
    execute(&url, &TO_1.replace("{schema}", &schema), None);
    // A program that has been running since finds no column. It keeps what it has to say.
    let error = run(&rt, old.status(held.id)).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Broken, "{error}");

    let open = || {
        PostgresEngine::builder(&rt, &*url)
            .schema(&*schema)
            .open()
            .wait()
    };
    for engine in [open().unwrap(), open().unwrap()] {
        let status = |id| run(&rt, engine.status(id)).unwrap().unwrap();
        assert_eq!(status(held.id).state, JobState::Running);
        assert_eq!(status(ended.id).state, JobState::Completed);
        assert_eq!(
            run(&rt, engine.result(ended.id)).unwrap(),
            Some(b"out".to_vec())
        );
        let mut again = keyed.clone();
        again.id = next_id();
        let submitted = run(&rt, engine.submit(vec![again])).unwrap();
        assert_eq!(submitted, [Submitted::Existing(keyed.id)]);
        for (state, id) in [
            (JobState::Running, held.id),
            (JobState::Queued, keyed.id),
            (JobState::Completed, ended.id),
        ] {
            let page = run(&rt, engine.list(Filter::new().state(state))).unwrap();
            assert_eq!((page.jobs.len(), page.jobs[0].id), (1, id));
        }
        let counts = run(&rt, engine.counts()).unwrap();
        assert_eq!((counts.running, counts.queued, counts.completed), (1, 1, 1));
    }
    let engine = open().unwrap();
    let settled = run(&rt, engine.settle(vec![(lease, Verdict::Release)])).unwrap();
    assert_eq!(settled, [Settled::Recorded]);
    let next = run(&rt, engine.fetch(fetch("held", 1, AGES))).unwrap();
    assert_eq!((next[0].attempt, next[0].lease.token), (1, 2));

    execute(
        &url,
        &format!("UPDATE {schema}.meta SET version = 99"),
        None,
    );
    let error = open().unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Invalid);
    assert!(
        error.to_string().contains("a newer program has made them"),
        "{error}"
    );
}

/// A missing table does not concern the request.
#[test]
fn a_table_that_is_gone_refuses_nothing() {
    let Some(url) = postgres_url() else {
        return;
    };
    let rt = any();
    let engine = open(&rt, &url);
    let good = job("kind");
    run(&rt, engine.submit(vec![good.clone()])).unwrap();
    let lease = run(&rt, engine.fetch(fetch("kind", 1, AGES))).unwrap()[0].lease;
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {}.{from} RENAME TO {to}", engine.schema());
        execute(&url, &sql, None);
    };
    let settle = || {
        let verdict = Verdict::Complete(b"1".to_vec());
        run(&rt, engine.settle(vec![(lease, verdict)]))
    };
    rename("job", "elsewhere");
    let error = settle().unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Broken, "{error}");
    assert!(!error.is_refusal());
    rename("elsewhere", "job");
    assert_eq!(settle().unwrap(), [Settled::Recorded]);
    // A refused job is a different error.
    let mut odd = job("kind");
    odd.headers.insert("a".to_owned(), "\0".to_owned());
    odd.kind = "zero\0".to_owned();
    assert!(run(&rt, engine.submit(vec![odd])).unwrap_err().is_refusal());
    // And so is a worker's name.
    let odd = Fetch::new("zero\0", vec![("kind".to_owned(), 1)]);
    let error = run(&rt, engine.fetch(odd)).unwrap_err();
    assert!(
        error.is_refusal() && error.to_string().contains("worker"),
        "{error}"
    );
}

/// Executes SQL by a connection other than the engine's.
fn execute(url: &str, sql: &str, id: Option<JobId>) {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async move {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        match id.map(|id| id.to_bytes().to_vec()) {
            Some(id) => assert_eq!(client.execute(sql, &[&id]).await.unwrap(), 1),
            None => client.batch_execute(sql).await.unwrap(),
        }
    });
}

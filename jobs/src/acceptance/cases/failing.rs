//! JB-4, failures and retries: attempts fail, and follow each other.

use std::{
    future::ready,
    panic::resume_unwind,
    sync::{Arc, Mutex},
};

use super::{Counter, accepted, submit, value};
use crate::{
    JobState,
    acceptance::{Bench, Body, Outcome, Settings, TestJob},
};

pub(super) fn failure(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let id = submit(&*manager, Body::closure(|_| Err("the disk is full".into())));
    let end = bench.end(&*manager, id);
    assert_eq!(end.state, JobState::Failed);
    assert_eq!(end.error.as_deref(), Some("the disk is full"));
    assert_eq!(manager.value(id), None);
}

pub(super) fn panic(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    // Quietly: the panic hook is not called.
    let closure = || -> Outcome { resume_unwind(Box::new("dropped a cup")) };
    let ids: Vec<_> = (0..20)
        .map(|n| match n % 2 {
            0 => submit(&*manager, Body::closure(move |_| closure())),
            _ => submit(&*manager, Body::future(move |_| async move { closure() })),
        })
        .collect();
    for id in ids {
        let end = bench.end(&*manager, id);
        assert_eq!(end.state, JobState::Failed);
        let error = end.error.unwrap_or_default();
        assert!(error.contains("dropped a cup"), "its error is `{error}`");
    }
    let after = submit(&*manager, Body::closure(|_| value(1)));
    assert_eq!(bench.end(&*manager, after).state, JobState::Completed);
}

pub(super) fn again(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let sees = seen.clone();
    let mut job = TestJob::new(Body::future(move |attempt| {
        sees.lock().expect("no panics").push(attempt.number);
        ready(match attempt.number {
            3 => value(3),
            _ => Err("not yet".into()),
        })
    }));
    job.attempts = 5;
    let id = accepted(manager.submit(job));
    let end = bench.end(&*manager, id);
    assert_eq!((end.state, end.attempt), (JobState::Completed, 3));
    assert_eq!(*seen.lock().expect("no panics"), [1, 2, 3]);
    bench.eventually("it has its value", || {
        manager.value(id).as_deref() == Some(&3)
    });
}

pub(super) fn no_more(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let ran = Counter::default();
    let count = ran.clone();
    let mut job = TestJob::new(Body::closure(move |attempt| {
        count.add();
        Err(format!("attempt {}", attempt.number))
    }));
    job.attempts = 4;
    let id = accepted(manager.submit(job));
    let end = bench.end(&*manager, id);
    assert_eq!((end.state, end.attempt), (JobState::Failed, 4));
    assert_eq!(end.error.as_deref(), Some("attempt 4"), "the last error");
    assert_eq!(ran.get(), 4);
}

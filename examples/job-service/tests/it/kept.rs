//! Jobs that are kept in a file: they outlive the service.

use std::{
    io::{BufRead, BufReader},
    thread,
};

use serde_json::{Value, json};

use crate::common::{Service, endless, search, until};

/// A file for jobs, in a folder that outlives the service.
fn store() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("jobs.db").display());
    (folder, store)
}

fn start(store: &str) -> Service {
    Service::start(&["--store", store, "--lease", "3", "--at-once", "1"])
}

/// The service is killed while it runs a job and has others in line: the next service runs each to
/// its end, once, and shows both attempts of the interrupted one.
#[test]
fn a_service_that_is_killed_loses_no_job() {
    let (_folder, store) = store();
    let service = start(&store);
    let cut_off = service.submit(&search(3_000_000));
    let mut later = search(1000);
    later["delay_ms"] = json!(2_000);
    later["name"] = json!("later");
    let later = service.submit(&later);
    service.until_state(&cut_off, "running");
    // SIGKILL.
    drop(service);

    let service = start(&store);
    let job = service.until(&cut_off, |job| job["ended_at"].is_number());
    assert_eq!(job["state"], "completed", "{job}");
    assert_eq!(job["result"]["below"], 3_000_000);
    assert_eq!(job["attempt"], 2);
    let attempts = job["attempts"].as_array().unwrap();
    let ends: Vec<_> = attempts.iter().map(|attempt| &attempt["state"]).collect();
    assert_eq!(ends, ["lost", "completed"]);
    assert_eq!(service.until_state(&later, "completed")["attempt"], 1);

    let list = service.get("/jobs").json();
    let ids: Vec<_> = list["jobs"].as_array().unwrap().iter().collect();
    assert_eq!(ids.len(), 2, "{list}");
    // The counts are from a moment ago.
    until("the counts", || {
        service.get("/overview").json()["counts"]["completed"] == 2
    });
}

/// The operations are the same, except those that no engine has.
#[test]
fn jobs_that_are_kept_are_asked_about_and_cancelled() {
    let (_folder, store) = store();
    let service = start(&store);
    let url = format!("{}/events", service.url);
    let events = service.agent().get(url).call().unwrap();
    let mut events = BufReader::new(events.into_body().into_reader());

    let mut named = search(100);
    named["name"] = json!("Named");
    named["labels"] = json!({"customer": "7"});
    named["body"] = json!("async");
    let answer = service.post("/run", &named);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let named = answer.json();
    assert_eq!(
        (&named["state"], &named["queue"]),
        (&json!("completed"), &json!("search"))
    );
    assert!(named["result"]["length"].is_number());
    let index = service.submit(&json!({"work": {"kind": "index", "folder": "skills"}}));
    service.until_state(&index, "completed");

    let count = |query: &str| {
        let answer = service.get(&format!("/jobs{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["jobs"].as_array().unwrap().len()
    };
    assert_eq!(count(""), 2);
    assert_eq!(count("?name=named"), 1);
    assert_eq!(count("?label=customer=7"), 1);
    assert_eq!(count("?queue=index&state=completed"), 1);
    assert_eq!(count("?state=failed"), 0);
    // As the dashboard knows.
    assert_eq!(service.get("/jobs?order=oldest").status, 400);
    assert_eq!(service.get("/overview").json()["kept"], true);
    let page = service.get("/jobs?limit=1").json();
    let next = page["next"].as_str().unwrap();
    assert_eq!(count(&format!("?limit=1&after={next}")), 1);

    let runs = service.submit(&endless());
    service.until_state(&runs, "running");
    // There are three queues, and so it runs three jobs at a time.
    let others = [endless(), endless(), endless()].map(|job| service.submit(&job));
    let waits = others.last().unwrap();
    assert_eq!(service.delete(&format!("/jobs/{waits}")).status, 200);
    assert_eq!(service.delete(&format!("/jobs/{runs}")).status, 202);
    service.until_state(&runs, "cancelled");
    assert_eq!(service.delete(&format!("/jobs/{runs}")).status, 409);
    for path in ["/jobs/retry", "/queues/pause", "/queues/search/pause"] {
        assert_eq!(service.post_empty(path).status, 501, "{path}");
    }
    // As often as it is asked for, one at a time.
    for job in [&runs, waits] {
        let retry = || service.post_empty(&format!("/jobs/{job}/retry"));
        let again = retry();
        assert_eq!((again.status, &again.json()["id"]), (202, &json!(job)));
        let refused = retry();
        assert_eq!(refused.status, 409, "{}", refused.text);
    }
    let again = service.until(&runs, |job| job["state"] == "running");
    assert_eq!(
        (&again["attempt"], &again["error"]),
        (&json!(2), &json!(null))
    );
    for job in [&runs, waits] {
        service.delete(&format!("/jobs/{job}"));
        service.until_state(job, "cancelled");
    }
    assert_eq!(
        service.post_empty(&format!("/jobs/{index}/retry")).status,
        409
    );
    assert_eq!(
        service
            .post_empty("/jobs/01KB2Z8V3N0000000000000000/retry")
            .status,
        404
    );
    assert_eq!(
        service.get("/status/01KB2Z8V3N0000000000000000").status,
        404
    );

    // And events are sent, a little later.
    let mut line = String::new();
    while !(line.starts_with("data:") && line.contains(&runs) && line.contains("cancelled")) {
        line.clear();
        assert!(
            events.read_line(&mut line).unwrap() > 0,
            "the events have ended"
        );
    }
}

/// A client that waits for a job is told when the service gives the job back, however long it would
/// wait.
#[test]
#[cfg(unix)]
fn a_client_that_waits_is_answered_when_its_job_is_given_back() {
    let (_folder, store) = store();
    let service = Service::start(&["--store", &store, "--drain", "0", "--wait", "3600"]);
    let answer = thread::scope(|scope| {
        let waits = scope.spawn(|| service.post("/run", &endless()));
        until("the job runs", || {
            let jobs = service.get("/jobs?state=running").json();
            !jobs["jobs"].as_array().unwrap().is_empty()
        });
        service.terminate();
        waits.join().unwrap()
    });
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_ne!(answer.json()["state"], "cancelled");
    assert!(service.wait().success());
}

/// Jobs that ended before the service was started are in its counts, and not in its history.
#[test]
fn jobs_of_earlier_lives_did_not_end_in_the_first_second() {
    let (_folder, store) = store();
    let service = start(&store);
    for _ in 0..3 {
        let id = service.submit(&search(10));
        service.until_state(&id, "completed");
    }
    drop(service);

    let service = start(&store);
    until("the counts", || {
        service.get("/overview").json()["counts"]["completed"] == 3
    });
    let seconds = || service.get("/history").json().as_array().unwrap().clone();
    let before = seconds().len();
    until("two seconds more", || seconds().len() >= before + 2);
    for second in seconds() {
        assert_eq!(second["completed"], 0, "{second}");
        assert_eq!(second["submitted"], 0, "{second}");
    }
    let id = service.submit(&search(10));
    service.until_state(&id, "completed");
    until("the job is in the history", || {
        let completed = |second: &Value| second["completed"].as_u64().unwrap();
        seconds().iter().map(completed).sum::<u64>() == 1
    });
    // Of this process: the others are the gauge's.
    assert_eq!(service.get("/overview").json()["submitted"], 1);
    for line in [
        "job_service_jobs_kept{state=\"completed\"} 4",
        "job_service_jobs_submitted_total 1",
        "job_service_jobs_ended_total{state=\"completed\"} 1",
        "job_service_jobs_ended_total{state=\"failed\"} 0",
        // Although it has hardly run while the store was looked at.
        "job_service_job_wait_seconds_count 1",
        "job_service_job_latency_seconds_count 1",
    ] {
        until(line, || {
            let metrics = service.get("/metrics").text;
            metrics.lines().any(|found| found == line)
        });
    }
}

/// A service that is asked to end gives back jobs that do not end in time, and the next one runs
/// them.
#[test]
#[cfg(unix)]
fn a_service_that_ends_gives_its_jobs_back() {
    let (_folder, store) = store();
    let arguments = ["--store", &store, "--at-once", "1", "--drain", "0"];
    let service = Service::start(&arguments);
    let job = service.submit(&endless());
    service.until_state(&job, "running");
    service.terminate();
    assert!(service.wait().success());

    let service = start(&store);
    // Without waiting for a lease: no worker holds the job.
    let again = service.until(&job, |job| job["attempt"] == 2 || job["state"] == "running");
    assert_eq!(again["attempts"][0]["state"], "released", "{again}");
    service.delete(&format!("/jobs/{job}"));
    service.until_state(&job, "cancelled");
}

/// Attempts that end by themselves are as many as were asked for; only attempts that are lost with
/// their service are made up for.
#[test]
fn a_job_that_takes_too_long_is_tried_as_often_as_asked() {
    let (_folder, store) = store();
    let service = start(&store);
    for body in ["sync", "async"] {
        let mut long = endless();
        long["body"] = json!(body);
        long["attempts"] = json!(2);
        long["timeout_ms"] = json!(20);
        let job = service.until_state(&service.submit(&long), "timed_out");
        assert_eq!(job["attempt"], 2, "{job}");
        assert_eq!(job["max_attempts"], 2, "{job}");
        assert_eq!(job["attempts"].as_array().unwrap().len(), 2, "{job}");
    }
}

use std::{fs, io::Write, net::TcpStream};

use serde_json::{Value, json};

use crate::common::{Service, endless, search, skill, until};

#[test]
fn one_waits_and_one_asks_later_with_both_bodies() {
    let service = Service::start(&[]);
    for body in ["sync", "async"] {
        let mut submission = search(10_000);
        submission["body"] = body.into();
        let answer = service.post("/run", &submission);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let job = answer.json();
        assert_eq!(job["state"], "completed");
        assert_eq!(job["result"]["start"], 6171);
        assert_eq!(job["progress"]["fraction"], 1.0);
        assert_eq!(job["labels"]["body"], body);

        let index = json!({"work": {"kind": "index", "folder": "skills"}, "body": body});
        let job = service.until_state(&service.submit(&index), "completed");
        assert_eq!(job["result"]["skills"], 2);
        assert_eq!(job["queue"], "index");

        let pack = json!({"work": {"kind": "pack", "folder": "skills"}, "body": body});
        let job = service.until_state(&service.submit(&pack), "completed");
        assert_eq!(job["result"]["files"], 2);
        assert_eq!(job["result"]["digest"].as_str().unwrap().len(), 64);
    }
}

/// The manager forgets each job as it ends.
#[test]
fn who_submits_a_job_gets_its_end_though_it_is_forgotten() {
    let service = Service::start(&["--keep", "0"]);
    for body in ["sync", "async"] {
        let mut submission = search(10_000);
        submission["body"] = body.into();
        submission["labels"] = json!({"n": "7"});
        submission["unique"] = "one".into();
        for on_disconnect in ["keep", "cancel"] {
            submission["on_disconnect"] = on_disconnect.into();
            let answer = service.post("/run", &submission);
            assert_eq!(answer.status, 200, "{}", answer.text);
            let job = answer.json();
            assert_eq!(job["state"], "completed", "{job}");
            assert_eq!(job["result"]["start"], 6171, "{job}");
            assert_eq!(job["labels"], json!({"body": body, "n": "7"}));
            assert_eq!(
                (&job["queue"], &job["unique"]),
                (&json!("search"), &json!("search/one"))
            );
            assert!(job["ended_at"].is_number(), "{job}");
            let id = job["id"].as_str().unwrap();
            assert_eq!(service.get(&format!("/status/{id}")).status, 404);
        }
    }
    let missing = json!({"work": {"kind": "index", "folder": "missing"}, "name": "gone"});
    let job = service.post("/run", &missing).json();
    assert_eq!(
        (&job["state"], &job["name"]),
        (&json!("failed"), &json!("gone"))
    );
    assert!(job["error"].is_string(), "{job}");
    // Also if it has ended before its first status is asked for.
    for _ in 0..50 {
        let answer = service.post("/run/async", &search(2));
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
}

#[test]
fn what_takes_longer_than_one_waits_is_asked_about_later() {
    let service = Service::start(&["--wait", "1"]);
    let answer = service.post("/run", &endless());
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    service.until_state(&id, "running");
    assert_eq!(service.delete(&format!("/jobs/{id}")).status, 202);
    service.until_state(&id, "cancelled");
}

#[test]
fn a_job_is_cancelled_before_and_while_it_runs_and_not_afterwards() {
    let service = Service::start(&["--at-once", "1"]);
    for body in ["sync", "async"] {
        let mut submission = endless();
        submission["body"] = body.into();
        let runs = service.submit(&submission);
        service.until(&runs, |job| {
            job["progress"]["fraction"].as_f64() > Some(0.0)
        });
        let waits = service.submit(&submission);
        assert_eq!(service.job(&waits)["state"], "queued");

        let answer = service.delete(&format!("/jobs/{waits}"));
        assert_eq!(
            (answer.status, &answer.json()["outcome"]),
            (200, &json!("cancelled"))
        );
        let answer = service.delete(&format!("/jobs/{runs}"));
        assert_eq!(
            (answer.status, &answer.json()["outcome"]),
            (202, &json!("requested"))
        );
        service.until_state(&runs, "cancelled");
        assert_eq!(service.job(&waits)["attempt"], 0);
        assert_eq!(service.delete(&format!("/jobs/{runs}")).status, 409);
    }
}

#[test]
fn what_has_failed_is_retried_one_by_one_or_all_at_once() {
    let service = Service::start(&[]);
    let later = json!({"work": {"kind": "index", "folder": "later/skills"}});
    let ids: Vec<_> = (0..3).map(|_| service.submit(&later)).collect();
    for id in &ids {
        let job = service.until_state(id, "failed");
        assert!(job["error"].as_str().unwrap().contains("later/skills"));
        assert_eq!(job["attempts"][0]["state"], "failed");
    }
    let again = service.post_empty(&format!("/jobs/{}/retry", ids[0]));
    assert_eq!(again.status, 202, "{}", again.text);
    service.until(&ids[0], |job| {
        job["attempt"] == 2 && job["state"] == "failed"
    });

    skill(&service.root.path().join("later"), "first");
    let all = service.post_empty("/jobs/retry?queue=index");
    assert_eq!(
        (all.status, all.json()),
        (202, json!({"retried": 3, "refused": 0}))
    );
    for id in &ids {
        let job = service.until_state(id, "completed");
        assert_eq!(job["result"]["skills"], 1);
    }
    let again = service.post_empty(&format!("/jobs/{}/retry", ids[0]));
    assert_eq!(again.status, 409, "{}", again.text);
}

#[test]
fn what_was_cancelled_is_run_again_only_if_that_is_asked_for() {
    let service = Service::start(&["--at-once", "1"]);
    let runs = service.submit(&endless());
    service.until_state(&runs, "running");
    let waits = service.submit(&search(10));
    assert_eq!(service.delete(&format!("/jobs/{waits}")).status, 200);
    for query in ["", "?state=", "?state=,"] {
        let answer = service.post_empty(&format!("/jobs/retry{query}"));
        let retried = json!({"retried": 0, "refused": 0});
        assert_eq!((answer.status, answer.json()), (202, retried), "{query}");
    }
    // There is no page of them.
    for query in ["limit=1", "order=oldest", "after=x"] {
        let answer = service.post_empty(&format!("/jobs/retry?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
    }
    let answer = service.post_empty("/jobs/retry?state=cancelled");
    assert_eq!(answer.json(), json!({"retried": 1, "refused": 0}));
    assert_eq!(service.delete(&format!("/jobs/{runs}")).status, 202);
    service.until_state(&waits, "completed");
}

#[test]
fn a_job_is_tried_as_often_as_it_says_and_ends_when_its_time_is_over() {
    let service = Service::start(&[]);
    let mut missing = json!({"work": {"kind": "pack", "folder": "missing"}, "attempts": 2});
    missing["name"] = "twice".into();
    let job = service.until_state(&service.submit(&missing), "failed");
    assert_eq!(
        (
            job["attempt"].clone(),
            job["attempts"].as_array().unwrap().len()
        ),
        (json!(2), 2)
    );

    let mut long = endless();
    long["timeout_ms"] = 50.into();
    let job = service.until_state(&service.submit(&long), "timed_out");
    assert_eq!(job["attempt"], 1);
}

#[test]
fn of_a_unique_key_there_is_one_unfinished_job() {
    let service = Service::start(&[]);
    let mut long = endless();
    long["unique"] = "one".into();
    let first = service.submit(&long);
    assert_eq!(service.submit(&long), first);
    service.delete(&format!("/jobs/{first}"));
    service.until_state(&first, "cancelled");
    assert_ne!(service.submit(&long), first);
}

#[test]
fn jobs_are_listed_by_filter_and_page() {
    let service = Service::start(&[]);
    let mut ids = Vec::new();
    for n in 0..25 {
        let mut job = search(100);
        job["labels"] = json!({"n": n.to_string()});
        job["name"] = format!("number {n}").into();
        ids.push(service.submit(&job));
    }
    for id in &ids {
        service.until_state(id, "completed");
    }
    let missing = json!({"work": {"kind": "index", "folder": "missing"}});
    service.until_state(&service.submit(&missing), "failed");

    let list = |query: &str| {
        let answer = service.get(&format!("/jobs?{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let names = |page: &Value, field: &str| -> Vec<String> {
        let jobs = page["jobs"].as_array().unwrap().iter();
        jobs.map(|job| job[field].as_str().unwrap().to_owned())
            .collect()
    };
    let mut found = Vec::new();
    let mut page = list("queue=search&order=oldest&limit=10");
    loop {
        found.extend(names(&page, "id"));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        page = list(&format!("queue=search&order=oldest&limit=10&after={next}"));
    }
    assert_eq!(found, ids);
    assert_eq!(
        names(&list("state=failed,timed_out"), "name"),
        ["index missing"]
    );
    assert_eq!(names(&list("label=n=7"), "id"), [ids[7].clone()]);
    assert_eq!(names(&list("name=number%2024"), "id"), [ids[24].clone()]);
    assert_eq!(
        names(&list("limit=1&queue=search"), "id"),
        [ids[24].clone()]
    );
    assert_eq!(names(&list("name=NUMBER%2024"), "id"), [ids[24].clone()]);
    for wrong in [
        "queue=none",
        "state=happy",
        "limit=0",
        "limit=x",
        "after=x",
        "colour=red",
        "order=up",
        "label=x",
    ] {
        let answer = service.get(&format!("/jobs?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text);
        assert_eq!(answer.kind, "application/problem+json");
    }
}

#[test]
fn a_queue_that_is_paused_starts_nothing() {
    let service = Service::start(&[]);
    assert_eq!(service.post_empty("/queues/search/pause").status, 200);
    let waits = service.submit(&search(10));
    let other = json!({"work": {"kind": "index", "folder": "skills"}});
    service.until_state(&service.submit(&other), "completed");
    assert_eq!(service.job(&waits)["state"], "queued");
    let queues = service.get("/overview").json()["queues"].clone();
    let search_queue = queues
        .as_array()
        .unwrap()
        .iter()
        .find(|queue| queue["name"] == "search");
    assert_eq!(search_queue.unwrap()["paused"], true);
    assert_eq!(service.post_empty("/queues/search/resume").status, 200);
    service.until_state(&waits, "completed");

    assert_eq!(service.post_empty("/queues/pause").status, 200);
    let waits = service.submit(&search(10));
    assert_eq!(service.get("/overview").json()["paused"], true);
    assert_eq!(service.post_empty("/queues/resume").status, 200);
    service.until_state(&waits, "completed");
    assert_eq!(service.post_empty("/queues/none/pause").status, 404);
}

/// Sends `POST /run` on a connection of its own, which ends with the stream.
fn send_run(service: &Service, submission: &Value) -> TcpStream {
    let body = submission.to_string();
    let host = service.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST /run HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

#[test]
fn a_client_that_goes_away_cancels_its_job_if_it_asked_for_that() {
    let service = Service::start(&[]);
    for (asked, state) in [("cancel", "cancelled"), ("keep", "running")] {
        let mut submission = endless();
        submission["on_disconnect"] = asked.into();
        submission["labels"] = json!({"asked": asked});
        let stream = send_run(&service, &submission);
        let mut id = String::new();
        until("the job to run", || {
            let jobs = service
                .get(&format!("/jobs?state=running&label=asked={asked}"))
                .json();
            id = jobs["jobs"][0]["id"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            !id.is_empty()
        });
        drop(stream);
        if asked == "keep" {
            // Another job begins and ends meanwhile; this one runs on.
            service.post(
                "/run",
                &json!({"work": {"kind": "index", "folder": "skills"}}),
            );
        }
        service.until_state(&id, state);
    }
}

#[test]
fn a_client_that_goes_away_does_not_cancel_the_job_of_another_one() {
    let service = Service::start(&["--at-once", "2"]);
    let mut shared = endless();
    shared["unique"] = "one".into();
    let first = service.submit(&shared);
    // One waits for the job that is there, another one for a job of its own.
    let own = endless();
    let streams = [shared, own].map(|mut submission| {
        submission["on_disconnect"] = "cancel".into();
        send_run(&service, &submission)
    });
    let mut running = Vec::new();
    until("both jobs to run", || {
        running = service.get("/jobs?state=running").json()["jobs"]
            .as_array()
            .unwrap()
            .clone();
        running.len() == 2
    });
    drop(streams);
    let second = running.iter().find(|job| job["id"] != first.as_str());
    service.until_state(second.unwrap()["id"].as_str().unwrap(), "cancelled");
    assert_eq!(service.job(&first)["state"], "running");
    assert_eq!(service.job(&first)["cancelling"], false);
}

#[test]
fn nothing_outside_of_the_root_is_read() {
    let service = Service::start(&[]);
    std::os::unix::fs::symlink("/etc", service.root.path().join("out")).unwrap();
    fs::write(service.root.path().join("file"), "text").unwrap();
    for (folder, status) in [("/etc", 422), ("../", 422), ("skills/../..", 422)] {
        let answer = service.post("/run", &json!({"work": {"kind": "pack", "folder": folder}}));
        assert_eq!(answer.status, status, "{folder}");
    }
    let answer = service.post("/run", &json!({"work": {"kind": "pack", "folder": "out"}}));
    assert_eq!(answer.json()["state"], "failed", "{}", answer.text);
    let answer = service.post(
        "/run",
        &json!({"work": {"kind": "index", "folder": "file"}}),
    );
    assert_eq!(answer.json()["state"], "failed", "{}", answer.text);
}

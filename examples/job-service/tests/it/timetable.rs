//! Recurring work.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::{Service, Working, until};

const EACH_SECOND: &str = "* * * * * * search=1000";

/// Runs of a schedule that have completed.
fn runs(service: &Service) -> Vec<Value> {
    let jobs = service.get("/jobs?state=completed&limit=100").json();
    jobs["jobs"].as_array().unwrap().clone()
}

fn schedule(service: &Service) -> Value {
    service.get("/overview").json()["schedules"][0].clone()
}

/// Two services and a worker have the same schedule on one store, and the services run no jobs.
#[test]
fn whoever_shares_a_store_does_each_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let arguments = ["--store", &store, "--no-work", "--schedule", EACH_SECOND];
    let services = [(); 2].map(|()| Service::start(&arguments));
    let said = [("JOB_SERVICE_SCHEDULE", EACH_SECOND)];
    let _worker = Working::start_with(services[0].root.path(), &store, "one", &said);
    let mut completed = Vec::new();
    until("some runs", || {
        completed = runs(&services[0]);
        completed.len() >= 4
    });
    // The first ten characters of an id are its time: a run's, the same in each process.
    let times: BTreeSet<_> = (completed.iter())
        .map(|job| job["id"].as_str().unwrap()[..10].to_owned())
        .collect();
    assert_eq!(times.len(), completed.len(), "{completed:?}");
    for job in &completed {
        assert_eq!(job["attempt"], 1, "{job}");
        assert_eq!(job["labels"]["schedule"], "* * * * * * search below 1000");
    }
    for service in &services {
        let seen = schedule(service);
        assert!(seen["next_at"].is_number(), "{seen}");
        let last = seen["last_job"].as_str().expect("it has had runs");
        let known = || service.get(&format!("/status/{last}")).status == 200;
        until("the last run is known", known);
    }
}

/// A run of yesterday that no process could submit is made up for, exactly once.
#[test]
fn a_service_that_was_away_makes_up_for_the_last_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let arguments = ["--store", &store, "--schedule", "@daily search=1000"];
    let service = Service::start(&arguments);
    let mut first = Value::Null;
    until("the run is made up for", || {
        first = runs(&service).first().cloned().unwrap_or_default();
        first.is_object()
    });
    service.terminate();
    assert!(service.wait().success());

    let service = Service::start(&arguments);
    until("it has looked", || {
        schedule(&service)["last_at"].is_number()
    });
    let id = service.submit(&crate::common::search(10));
    service.until_state(&id, "completed");
    let now = service.job(first["id"].as_str().unwrap());
    assert_eq!(now["attempt"], 1, "{now}");
    assert_eq!(now["ended_at"], first["ended_at"]);
}

#[test]
fn a_schedule_needs_no_store() {
    let service = Service::start(&["--schedule", EACH_SECOND, "--time-zone", "Europe/Berlin"]);
    let mut seen = Value::Null;
    until("a run", || {
        seen = schedule(&service);
        seen["last_job"].is_string()
    });
    assert_eq!(seen["name"], "* * * * * * search below 1000");
    assert_eq!(seen["times"], "* * * * * * in Europe/Berlin");
    assert_eq!(seen["error"], Value::Null);
    let job = service.until_state(seen["last_job"].as_str().unwrap(), "completed");
    assert_eq!(job["labels"]["schedule"], seen["name"]);
    service.terminate();
    assert!(service.wait().success());
}

#[test]
fn nothing_between_schedules_is_no_mistake() {
    let root = tempfile::tempdir().unwrap();
    for schedule in [
        "",
        ";",
        "@yearly search=10;",
        "; @yearly search=10; ;@daily search=10",
    ] {
        let schedule = [("JOB_SERVICE_SCHEDULE", schedule)];
        let store = format!("sqlite:{}", root.path().join("jobs.db").display());
        let working = Working::start_with(root.path(), &store, "empty", &schedule);
        assert!(!working.name.is_empty());
    }
}

#[test]
fn a_wrong_schedule_is_refused_at_once() {
    for (arguments, said) in [
        (["--schedule", "* * * search=10"], "--schedule"),
        (["--schedule", "@daily sing=x"], "index=FOLDER"),
        (["--schedule", "@daily pack=/etc"], "/etc"),
        (["--time-zone", "Europe/Atlantis"], "Europe/Atlantis"),
    ] {
        let mut program = crate::common::program();
        program.args(["serve", "--listen", "127.0.0.1:0"]);
        program.args(["--schedule", "@yearly search=10"]);
        let output = program.args(arguments).output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
}

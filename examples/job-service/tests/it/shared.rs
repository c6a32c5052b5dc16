//! Two services on one engine, as on two machines, and workers beside them.

use std::net::TcpListener;

use fourway_servers::{nats_url, postgres_url};
use gateway::Settings;
use serde_json::Value;

use crate::{
    common::{LEASE, Service, Working, endless, search, until},
    front::Front,
};

fn start(store: &str) -> Service {
    Service::start(&["--store", store, "--lease", LEASE, "--at-once", "1"])
}

/// One service is killed while it runs a job: the other one runs it to its end, once, and each
/// shows both attempts.
fn the_other_service_goes_on(store: &str) {
    let first = start(store);
    let job = first.submit(&search(3_000_000));
    // There is no other service yet: the first one gets it.
    first.until_state(&job, "running");
    let second = start(store);
    assert_eq!(second.until_state(&job, "running")["attempt"], 1);
    // SIGKILL.
    drop(first);
    // Jobs that come meanwhile run as well.
    let more = second.submit(&search(1000));
    assert_eq!(second.until_state(&more, "completed")["attempt"], 1);

    let ended = second.until(&job, |job| job["ended_at"].is_number());
    let again = start(store);
    let seen = again.until(&job, |job| job["ended_at"].is_number());
    for job in [ended, seen] {
        assert_eq!(job["state"], "completed", "{job}");
        assert_eq!(job["result"]["below"], 3_000_000);
        let attempts = job["attempts"].as_array().unwrap();
        let ends: Vec<_> = attempts.iter().map(|attempt| &attempt["state"]).collect();
        assert_eq!(ends, ["lost", "completed"]);
    }
}

/// Two services that run no jobs, behind one address, and three workers: the holder of a job is
/// shown on both dashboards, and loses it to another worker when it is killed.
fn workers_are_seen(store: &str) {
    let mut services = [0, 1].map(|_| Service::start(&["--store", store, "--no-work"]));
    let urls = services.each_ref().map(|service| service.url.clone());
    let front = Front::over(&fourway_testing::any(), &urls, Settings::default());
    services[0].url.clone_from(&front.url);
    let through = &services[0];

    let mut workers: Vec<_> = ["one", "two", "three"]
        .map(|name| Working::start(through.root.path(), store, name))
        .into();
    let job = through.submit(&endless());
    through.until_state(&job, "running");
    let holder = |url: &String| through.holder(url, &job);
    let mut first = Value::Null;
    until("a heartbeat is heard by both", || {
        let seen = urls.each_ref().map(holder);
        let beaten = seen
            .iter()
            .flatten()
            .filter(|worker| worker["heard_at"].as_u64() > worker["holds"][0]["since"].as_u64());
        if beaten.count() < 2 {
            return false;
        }
        let [one, other] = seen.map(|worker| worker.unwrap()["name"].clone());
        let same = one == other;
        first = one;
        same
    });
    let first = first.as_str().unwrap().to_owned();
    let at = workers.iter().position(|worker| worker.name == first);
    drop(workers.remove(at.expect("one of the three")));
    until("another one has it", || {
        urls.iter()
            .all(|url| holder(url).is_some_and(|worker| worker["name"] != first.as_str()))
    });
    let now = through.job(&job);
    assert!(now["attempt"].as_u64() >= Some(2), "{now}");
    let attempts = now["attempts"].as_array().unwrap();
    let is_lost = |attempt: &Value| attempt["state"] == "lost";
    assert!(attempts.iter().any(is_lost), "{now}");
    through.delete(&format!("/jobs/{job}"));
    through.until_state(&job, "cancelled");

    front.stop();
}

#[test]
fn on_postgres() {
    let Some(url) = postgres_url() else {
        return;
    };
    let schema = fourway_jobs_engine::next_id().to_string().to_lowercase();
    the_other_service_goes_on(&format!("{url}?schema=service_{schema}"));
    workers_are_seen(&format!("{url}?schema=workers_{schema}"));
    values_that_the_store_cannot_hold_are_the_clients_fault(&format!(
        "{url}?schema=refused_{schema}"
    ));
}

/// PostgreSQL has no NUL in its texts.
fn values_that_the_store_cannot_hold_are_the_clients_fault(store: &str) {
    let service = start(store);
    let mut job = search(10);
    job["unique"] = "a\0b".into();
    let answer = service.post("/run/async", &job);
    assert_eq!(answer.status, 422, "{}", answer.text);
    // Elsewhere it may be.
    job["unique"] = "ab".into();
    job["name"] = "a\0b".into();
    job["labels"] = serde_json::json!({"a\0": "\0"});
    let id = service.submit(&job);
    let job = service.until_state(&id, "completed");
    assert_eq!(job["name"], "a\0b");
}

#[test]
fn on_nats() {
    let Some(url) = nats_url() else {
        return;
    };
    let prefix = fourway_jobs_engine::next_id();
    the_other_service_goes_on(&format!("{url}?prefix=service-{prefix}"));
    workers_are_seen(&format!("{url}?prefix=workers-{prefix}"));
}

/// `JOB_SERVICE_NO_WORK` is as the option, unless it says no.
#[test]
fn a_variable_says_that_nothing_runs_here() {
    // At an address where no service can listen: it ends, with any settings.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (value, is_yes) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("0", false),
        ("false", false),
        ("", false),
    ] {
        let mut program = crate::common::program();
        program.args(["serve", "--listen", &address]);
        let output = program.env("JOB_SERVICE_NO_WORK", value).output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        let said = if is_yes { "`--store`" } else { &address };
        assert!(error.contains(said), "{value:?}: {error}");
    }
}

/// Jobs in memory run in one process.
#[test]
fn workers_need_a_store() {
    for arguments in [
        &["work"][..],
        &["serve", "--no-work", "--listen", "127.0.0.1:0"],
    ] {
        let output = crate::common::program().args(arguments).output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("`--store`"), "{error}");
    }
}

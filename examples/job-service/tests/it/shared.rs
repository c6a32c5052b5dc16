//! Two services on one engine, as on two machines.

use fourway_servers::{nats_url, postgres_url};

use crate::common::{Service, search};

fn start(store: &str) -> Service {
    Service::start(&["--store", store, "--lease", "3", "--at-once", "1"])
}

/// One of them is killed while it runs a job: the other one runs it to its end, once, and either
/// shows both attempts.
fn the_other_service_goes_on(store: &str) {
    let first = start(store);
    let job = first.submit(&search(3_000_000));
    // Nobody else is there yet: it is the first one's.
    first.until_state(&job, "running");
    let second = start(store);
    assert_eq!(second.until_state(&job, "running")["attempt"], 1);
    // SIGKILL.
    drop(first);
    // What comes meanwhile is run as well.
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

#[test]
fn on_postgres() {
    let Some(url) = postgres_url() else {
        return;
    };
    let schema = fourway_jobs_engine::next_id().to_string().to_lowercase();
    the_other_service_goes_on(&format!("{url}?schema=service_{schema}"));
}

#[test]
fn on_nats() {
    let Some(url) = nats_url() else {
        return;
    };
    let prefix = fourway_jobs_engine::next_id();
    the_other_service_goes_on(&format!("{url}?prefix=service-{prefix}"));
}

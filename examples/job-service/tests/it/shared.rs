//! Two services on one engine, as on two machines, and workers beside them.

use fourway_core::{BlockOn, Spawner, Task, cancel::CancellationToken};
use fourway_net::Net;
use fourway_servers::{nats_url, postgres_url};
use gateway::{Gateway, Log, Settings};
use serde_json::Value;

use crate::common::{Service, Working, endless, search, until};

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

/// Two services that run nothing, behind one address, and three workers: whoever holds a job is
/// seen on both dashboards, and loses it to another one when it is killed.
fn workers_are_seen(store: &str) {
    let mut services = [0, 1].map(|_| Service::start(&["--store", store, "--no-work"]));
    let urls = services.each_ref().map(|service| service.url.clone());
    let rt = fourway_testing::any();
    let stop = CancellationToken::new();
    let listener = rt.block_on(rt.listen_tcp("127.0.0.1:0").into_future());
    let listener = listener.unwrap();
    services[0].url = format!("http://{}", listener.local_addr().unwrap());
    let settings = Settings {
        upstreams: urls.iter().map(|url| url.replace("http://", "")).collect(),
        ..Settings::default()
    };
    let (gateway, stopped) = (Gateway::new(&rt, settings, Log::none()), stop.clone());
    let serving = rt.spawn(async move { gateway.serve(listener, &stopped).await });
    let through = &services[0];

    let mut workers: Vec<_> = ["one", "two", "three"]
        .map(|name| Working::start(through.root.path(), store, name))
        .into();
    let job = through.submit(&endless());
    through.until_state(&job, "running");
    let holder = |url: &String| -> Option<Value> {
        let overview = through.get_at(&format!("{url}/overview")).json();
        let workers = overview["workers"].as_array().unwrap();
        let holds = |worker: &&Value| {
            let holds = worker["holds"].as_array().unwrap();
            holds.iter().any(|held| held["id"] == job.as_str())
        };
        workers.iter().find(holds).cloned()
    };
    let mut first = None;
    until("a heartbeat is heard by both", || {
        let seen = urls.each_ref().map(holder);
        let beaten = seen
            .iter()
            .flatten()
            .filter(|worker| worker["heard_at"].as_u64() > worker["holds"][0]["since"].as_u64());
        let both = beaten.count() == 2;
        first = seen[0].clone();
        both
    });
    let first = first.unwrap()["name"].as_str().unwrap().to_owned();
    let at = workers.iter().position(|worker| worker.name == first);
    drop(workers.remove(at.expect("one of the three")));
    until("another one has it", || {
        urls.iter()
            .all(|url| holder(url).is_some_and(|worker| worker["name"] != first.as_str()))
    });
    let now = through.job(&job);
    assert_eq!(
        (&now["attempt"], &now["attempts"][0]["state"]),
        (&2.into(), &"lost".into())
    );
    through.delete(&format!("/jobs/{job}"));
    through.until_state(&job, "cancelled");

    stop.cancel();
    serving.wait().unwrap();
}

#[test]
fn on_postgres() {
    let Some(url) = postgres_url() else {
        return;
    };
    let schema = fourway_jobs_engine::next_id().to_string().to_lowercase();
    the_other_service_goes_on(&format!("{url}?schema=service_{schema}"));
    workers_are_seen(&format!("{url}?schema=workers_{schema}"));
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

/// What runs in memory runs in one process.
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

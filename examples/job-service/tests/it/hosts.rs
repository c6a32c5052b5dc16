//! Two services and three workers on one engine, each on a machine of its own, and cables that are
//! cut: where network namespaces can be had. `shared.rs` has the same by processes alone.

use std::time::Duration;

use fourway_servers::{Host, Nats, Postgres, Wire, or_not_run};
use gateway::Settings;
use serde_json::Value;

use crate::{
    common::{Service, Working, endless, search, until},
    front::Front,
};

/// How many jobs a worker runs at a time: one of each queue.
const PLACES: usize = 3;

/// The job of a worker that is cut off goes to another one, and the late worker does not count. It
/// works again when it is back. While a service is cut off, the other one answers.
///
/// `port` is the engine's on this machine's loopback, `store` its URL for a machine that sees it at
/// another address.
fn machines_that_are_cut_off(port: u16, store: impl Fn(&str) -> String) {
    let Some(hosts) = Host::several::<5>() else {
        return;
    };
    let wires = hosts.each_ref().map(|host| {
        let wire = Wire::from(host.here(), port);
        wire.expect("this machine has the address")
    });
    let stores = wires.each_ref().map(|w| store(&w.address().to_string()));
    let mut services =
        [0, 1].map(|at| Service::start_on(&hosts[at], &["--store", &stores[at], "--no-work"]));
    let urls = services.each_ref().map(|service| service.url.clone());

    let settings = Settings {
        // A connection whose other end has vanished gets 504 then.
        timeout: Duration::from_secs(2),
        ..Settings::default()
    };
    let front = Front::over(&fourway_testing::any(), &urls, settings);
    services[0].url.clone_from(&front.url);
    let through = &services[0];

    let working = [2, 3, 4].map(|at| {
        let root = through.root.path();
        Working::start_on(&hosts[at], root, &stores[at], &format!("worker-{at}"))
    });
    let holder = |job: &String| {
        let worker = through.holder(&through.url, job)?;
        Some(worker["name"].as_str().unwrap().to_owned())
    };

    // A job without an end, whose worker is cut off for longer than its lease.
    let job = through.submit(&endless());
    let mut first = None;
    until("somebody has it", || {
        first = holder(&job);
        first.is_some()
    });
    let at = working
        .iter()
        .position(|worker| Some(&worker.name) == first.as_ref());
    let host = &hosts[2 + at.expect("one of the three")];
    host.cut().unwrap();
    until("another one has it", || {
        holder(&job).is_some_and(|name| Some(&name) != first.as_ref())
    });
    // Two, or more on a machine that is too busy for heartbeats.
    let is_lost = |now: &Value| {
        assert!(now["attempt"].as_u64() >= Some(2), "{now}");
        assert_eq!(now["attempts"][0]["state"], "lost", "{now}");
    };
    is_lost(&through.job(&job));
    host.mend().unwrap();

    // As many as they all run at a time. So the first one works again, and has given up the job that
    // it has lost.
    let more: Vec<_> = (0..3 * PLACES)
        .map(|_| through.submit(&endless()))
        .collect();
    until("each worker has one", || {
        let holders: Vec<_> = more.iter().chain([&job]).filter_map(holder).collect();
        working.iter().all(|worker| holders.contains(&worker.name))
    });
    is_lost(&through.job(&job));

    // While a service is cut off, the other one answers, once the gateway has noticed.
    let status = format!("/status/{job}");
    // A request to a service that has just gone, or has just come back, may fail.
    let answers = |url: &str| {
        let mut answered = 0;
        until(&format!("{url} answers"), || {
            let answer = through.get_at(&format!("{url}{status}"));
            let ok = answer.status == 200;
            answered = if ok { answered + 1 } else { 0 };
            assert!(
                !ok || answer.json()["state"] == "running",
                "{}",
                answer.text
            );
            answered == 4
        });
    };
    for (host, url) in hosts.iter().zip(&urls) {
        host.cut().unwrap();
        answers(&through.url);
        host.mend().unwrap();
        answers(url);
        answers(&through.url);
    }
    for job in more.iter().chain([&job]) {
        let path = format!("/jobs/{job}");
        until("it is to be cancelled", || {
            through.delete(&path).status < 500
        });
        through.until_state(job, "cancelled");
    }
    let last = through.submit(&search(1000));
    assert_eq!(through.until_state(&last, "completed")["attempt"], 1);

    front.stop();
}

#[test]
fn on_postgres() {
    let Some(server) = or_not_run(Postgres::start()) else {
        return;
    };
    let (url, mine) = (server.url(), format!("127.0.0.1:{}", server.port()));
    assert!(url.contains(&mine), "{url}");
    machines_that_are_cut_off(server.port(), |at| url.replace(&mine, at));
}

#[test]
fn on_nats() {
    let Some(server) = or_not_run(Nats::start()) else {
        return;
    };
    let (url, mine) = (server.url(), format!("127.0.0.1:{}", server.port()));
    assert!(url.contains(&mine), "{url}");
    machines_that_are_cut_off(server.port(), |at| url.replace(&mine, at));
}

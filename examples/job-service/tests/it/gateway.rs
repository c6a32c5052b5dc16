//! The service behind the reverse proxy of `examples/gateway`, in this process, on each runtime.

use std::io::{BufRead, BufReader};

use fourway_core::AnyRuntime;
use fourway_testing::on_every_runtime;
use gateway::Settings;

use crate::{
    common::{Service, endless, search},
    front::Front,
};

on_every_runtime! { erased
    jobs_are_run_through_a_gateway
}

fn jobs_are_run_through_a_gateway(rt: AnyRuntime) {
    let mut service = Service::start(&[]);
    let settings = Settings {
        check_path: Some("/overview".to_owned()),
        ..Settings::default()
    };
    let front = Front::over(&rt, &[service.url.clone()], settings);
    service.url.clone_from(&front.url);

    // `/run/async` answers at once, though the job has no end.
    let runs = service.submit(&endless());
    // `/run` answers when its job has ended.
    let answer = service.post("/run", &search(1000));
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["state"], "completed");
    // Events arrive one by one: there is no end at which they could all come.
    let events = service.agent().get(format!("{}/events", service.url));
    let events = events.call().unwrap().into_body().into_reader();
    let mut events = BufReader::new(events).lines();
    // The first line says that it is subscribed.
    assert!(events.next().unwrap().unwrap().starts_with(':'));
    let job = service.submit(&search(10));
    assert!(events.any(|line| line.unwrap().contains(&job)));
    drop(events);
    service.delete(&format!("/jobs/{runs}"));
    service.until_state(&runs, "cancelled");

    front.stop();
}

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use crate::common::{Service, search};

/// An event as it was sent: its id, its kind and its text.
type Event = (String, String, String);

struct Stream(BufReader<Box<dyn Read>>);

impl Stream {
    fn open(service: &Service, query: &str, last: Option<&str>) -> Self {
        let mut request = service
            .agent()
            .get(format!("{}/events{query}", service.url));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.call().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self(BufReader::new(Box::new(response.into_body().into_reader())));
        // It is subscribed by now.
        let mut line = String::new();
        if last.is_none() {
            stream.0.read_line(&mut line).unwrap();
            assert!(line.starts_with(':'), "{line}");
        }
        stream
    }

    fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => event.0 = id.into(),
                Some(("event", kind)) => event.1 = kind.into(),
                Some(("data", data)) => event.2 = data.into(),
                _ if line.trim().is_empty() && !event.1.is_empty() => return Some(event),
                _ => {}
            }
        }
    }

    fn until_end_of(&mut self, job: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().expect("the stream goes on");
            let data: Value = serde_json::from_str(&event.2).unwrap();
            let is_end = data["id"] == job && data["to"] == "completed";
            events.push(event);
            if is_end {
                return events;
            }
        }
    }
}

#[test]
fn a_stream_that_was_cut_off_goes_on_where_it_was() {
    let service = Service::start(&[]);
    let mut stream = Stream::open(&service, "", None);
    let id = service.submit(&search(10));
    let events = stream.until_end_of(&id);
    let states: Vec<Value> = (events.iter())
        .map(|event| serde_json::from_str::<Value>(&event.2).unwrap())
        .filter(|data| data["event"] == "state")
        .map(|data| data["to"].clone())
        .collect();
    assert_eq!(states, ["queued", "running", "completed"]);
    drop(stream);

    // Cut off after the first event: the others come again, and are the same.
    let mut stream = Stream::open(&service, "", Some(&events[0].0));
    assert_eq!(stream.until_end_of(&id), events[1..]);
    // And new events come after them.
    let id = service.submit(&search(10));
    stream.until_end_of(&id);
}

#[test]
fn of_one_job_alone_if_that_is_wanted() {
    let service = Service::start(&["--at-once", "1"]);
    service.post_empty("/queues/search/pause");
    let other = service.submit(&search(10));
    let id = service.submit(&search(10));
    let mut stream = Stream::open(&service, &format!("?job={id}"), None);
    service.post_empty("/queues/search/resume");
    for event in stream.until_end_of(&id) {
        assert!(!event.2.contains(&other), "{event:?}");
    }
}

#[test]
fn one_from_another_life_is_told_that_it_has_missed_something() {
    let service = Service::start(&[]);
    let mut stream = Stream::open(&service, "", Some("abc-5"));
    assert_eq!(stream.next().unwrap().1, "lost");
    let wrong = service.agent().get(format!("{}/events", service.url));
    let answer = wrong.header("Last-Event-ID", "x").call().unwrap();
    assert_eq!(answer.status(), 400);
}

#[test]
fn one_that_names_an_event_of_the_future_is_told_so() {
    let service = Service::start(&[]);
    let mut stream = Stream::open(&service, "", None);
    let id = service.submit(&search(10));
    let events = stream.until_end_of(&id);
    let (boot, _) = events[0].0.split_once('-').unwrap();
    for number in [1_000_000, u64::MAX] {
        let mut stream = Stream::open(&service, "", Some(&format!("{boot}-{number}")));
        let id = service.submit(&search(10));
        assert_eq!(stream.next().unwrap().1, "lost");
        stream.until_end_of(&id);
    }
}

#[test]
fn streams_end_once_all_jobs_have() {
    let service = Service::start(&[]);
    let mut stream = Stream::open(&service, "", None);
    service.terminate();
    assert_eq!(stream.next(), None);
    assert!(service.wait().success());
}

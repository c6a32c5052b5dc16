use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::common::{DEADLINE, Service, endless, search, until};

#[test]
fn bad_requests_get_problem_documents() {
    let service = Service::start(&[]);
    let url = format!("{}/run/async", service.url);
    let send = |kind: &str, body: &str| {
        let request = service.agent().post(&url).header("content-type", kind);
        let mut response = request.send(body).unwrap();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = response.body_mut().read_to_string().unwrap();
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(kind, "application/problem+json", "{text}");
        assert_eq!(problem["status"], response.status().as_u16());
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string());
        if response.status().as_u16() == 422 {
            let words = problem["detail"].as_str().unwrap();
            assert!(words.contains('`') && !words.contains("struct"), "{words}");
        }
        response.status().as_u16()
    };
    let good = search(10).to_string();
    assert_eq!(send("text/plain", &good), 415);
    assert_eq!(send("application/json", "{"), 400);
    assert_eq!(send("application/json", "{}"), 422);
    assert_eq!(send("application/json", &search(0).to_string()), 422);
    assert_eq!(
        send("application/json", &format!("{good}{}", " ".repeat(70_000))),
        413
    );
    // The connection ends with that answer, which says so: the next request has its own.
    for _ in 0..20 {
        let request = service
            .agent()
            .post(&url)
            .header("content-type", "application/json");
        let response = request.send(" ".repeat(70_000)).unwrap();
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(send("application/json", "{}"), 422);
    }
    let nested = "[".repeat(10_000);
    assert_eq!(send("application/json", &nested), 422);

    for (path, status) in [
        ("/nothing", 404),
        ("/status/x", 400),
        ("/status/01KB2Z8V3N0000000000000000", 404),
        ("/run", 405),
    ] {
        let answer = service.get(path);
        assert_eq!(
            (answer.status, &*answer.kind),
            (status, "application/problem+json"),
            "{path}"
        );
    }
    assert_eq!(
        service.delete("/jobs/01KB2Z8V3N0000000000000000").status,
        404
    );
    assert_eq!(
        service
            .post_empty("/jobs/01KB2Z8V3N0000000000000000/retry")
            .status,
        404
    );
    // None of these requests was a job.
    assert_eq!(service.get("/overview").json()["submitted"], 0);
}

#[test]
fn a_body_that_does_not_arrive_is_not_waited_for() {
    let service = Service::start(&["--request-timeout", "1"]);
    let host = service.url.strip_prefix("http://").unwrap();
    for path in ["/run", "/run/async"] {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: 100\r\n\r\n{{"
        )
        .unwrap();
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
    }
    assert_eq!(service.get("/overview").json()["submitted"], 0);
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let service = Service::start(&[]);
    let host = service.url.strip_prefix("http://").unwrap();
    for path in ["/run", "/run/async"] {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
    }
}

#[test]
fn more_jobs_than_may_wait_are_refused_until_there_is_room() {
    let service = Service::start(&["--queue-limit", "3"]);
    service.post_empty("/queues/search/pause");
    let ids: Vec<_> = (0..3).map(|_| service.submit(&search(10))).collect();
    for path in ["/run", "/run/async"] {
        let answer = service.post(path, &search(10));
        assert_eq!(
            (answer.status, &*answer.kind),
            (429, "application/problem+json")
        );
        assert!(answer.retry_after.unwrap() >= 1);
    }
    service.post_empty("/queues/search/resume");
    for id in ids {
        service.until_state(&id, "completed");
    }
    service.submit(&search(10));
}

#[test]
fn asked_to_end_it_lets_jobs_end_and_refuses_others() {
    let service = Service::start(&["--drain", "60", "--at-once", "1"]);
    assert_eq!(service.get("/health").json(), json!({"status": "ok"}));
    let failed = service.submit(&json!({"work": {"kind": "index", "folder": "nowhere"}}));
    service.until_state(&failed, "failed");
    let runs = service.submit(&endless());
    service.until_state(&runs, "running");
    let answer = thread::scope(|scope| {
        let waits = scope.spawn(|| service.post("/run", &search(10)));
        until("both are there", || {
            service.get("/overview").json()["submitted"] == 3
        });
        service.terminate();
        until("it drains", || service.get("/health").status == 503);
        let health = service.get("/health");
        assert_eq!(health.kind, "application/json");
        assert_eq!(health.json(), json!({"status": "draining"}));
        assert_eq!(service.post("/run", &search(10)).status, 503);
        for path in [format!("/jobs/{failed}/retry"), "/jobs/retry".into()] {
            let refused = service.post_empty(&path);
            assert_eq!(refused.status, 503, "{}", refused.text);
            assert!(refused.retry_after.is_some(), "{path}");
        }
        assert_eq!(service.get("/overview").json()["draining"], true);
        assert_eq!(service.job(&runs)["state"], "running");
        // The drain waits for the running job; the waiting job comes after it.
        assert_eq!(service.delete(&format!("/jobs/{runs}")).status, 202);
        waits.join().unwrap()
    });
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["state"], "completed");
    assert!(service.wait().success());
}

#[test]
fn what_does_not_end_in_time_is_cancelled() {
    let service = Service::start(&["--drain", "0"]);
    let id = service.submit(&endless());
    service.until_state(&id, "running");
    service.terminate();
    assert!(service.wait().success());
}

#[test]
fn asked_to_end_twice_it_ends_at_once() {
    let service = Service::start(&["--drain", "3600"]);
    let runs = service.submit(&endless());
    service.until_state(&runs, "running");
    service.terminate();
    until("it drains", || service.get("/health").status == 503);
    service.terminate();
    assert_eq!(service.wait().code(), Some(130));
}

#[test]
fn clients_that_neither_ask_nor_read_do_not_keep_it_from_ending() {
    let service = Service::start(&[]);
    let host = service.url.strip_prefix("http://").unwrap();
    let silent = TcpStream::connect(host).unwrap();
    let mut halfway = TcpStream::connect(host).unwrap();
    write!(halfway, "GET /health HTTP/1.1\r\nHost: lo").unwrap();
    // More answers than the sockets hold, and nobody reads them.
    let deaf = TcpStream::connect(host).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(100);
    // Until the service stops reading as well.
    while (&deaf).write_all(request.as_bytes()).is_ok() {}
    service.terminate();
    assert!(service.wait().success());
    drop((silent, halfway, deaf));
}

#[test]
fn metrics_count_what_happens() {
    let service = Service::start(&[]);
    service.post("/run", &search(10));
    service.post(
        "/run",
        &json!({"work": {"kind": "pack", "folder": "missing"}}),
    );
    service.get("/nothing");
    let mut text = String::new();
    // Events are counted a moment after they happened.
    until("both jobs are in the metrics", || {
        text = service.get("/metrics").text;
        text.contains("job_service_job_latency_seconds_count 2\n")
    });
    for line in [
        "job_service_jobs{queue=\"search\",state=\"completed\"} 1",
        "job_service_jobs_submitted_total 2",
        "job_service_jobs_ended_total{state=\"failed\"} 1",
        "job_service_queue_paused{queue=\"index\"} 0",
        "job_service_http_requests_total{method=\"POST\",route=\"/run\",status=\"200\"} 2",
        "job_service_http_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1",
        "# EOF",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn the_document_says_what_there_is() {
    let service = Service::start(&[]);
    let document = service.get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    // Each operation that it names exists: a missing one would be a 404 without a problem document.
    for (path, operations) in paths {
        let path = path.replace("{id}", "01KB2Z8V3N0000000000000000");
        let path = path.replace("{queue}", "search");
        for method in operations.as_object().unwrap().keys() {
            let answer = match method.as_str() {
                "get" if path == "/events" => continue, // does not end
                "get" => service.get(&path),
                "delete" => service.delete(&path),
                "post" if path.starts_with("/run") => service.post(&path, &search(10)),
                "post" => service.post_empty(&path),
                other => panic!("{other}"),
            };
            let documented = &operations[method]["responses"][answer.status.to_string()];
            assert!(documented.is_object(), "{method} {path}: {}", answer.status);
            assert!(!answer.text.contains("no such page"), "{method} {path}");
        }
    }
    // All references in it resolve.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

/// Each answer that the service can be made to give, and that is not a success, is in its document; and
/// what layers answer is there for each operation.
#[test]
fn the_document_says_what_can_go_wrong() {
    let service = Service::start(&["--token", "secret", "--queue-limit", "1"]);
    let document = {
        let request = service.agent().get(format!("{}/openapi.json", service.url));
        let mut answer = request
            .header("Authorization", "Bearer secret")
            .call()
            .unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let documented = |path: &str, method: &str, status: u16| {
        let response = &document["paths"][path][method]["responses"][status.to_string()];
        let content = &response["content"]["application/problem+json"];
        assert!(content.is_object(), "{method} {path}: {status}");
    };
    let bearer = ("Authorization", "Bearer secret");
    let foreign = ("Origin", "https://example.org");
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let url = format!("{}{path}", service.url);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("Content-Type", "application/json");
        let answer = if method == "GET" {
            service.agent().run(request.body(()).unwrap())
        } else {
            service.agent().run(request.body(body.to_owned()).unwrap())
        };
        answer.unwrap().status().as_u16()
    };

    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let upper = method.to_uppercase();
            let real = path.replace("{id}", "x").replace("{queue}", "none");
            documented(path, method, 500);
            documented(path, method, 403);
            if upper != "GET" {
                assert_eq!(ask(&upper, &real, &[foreign, bearer], ""), 403);
            }
            if path == "/health" {
                continue;
            }
            assert_eq!(ask(&upper, &real, &[], ""), 401, "{path}");
            documented(path, method, 401);
            if path != "/events" {
                documented(path, method, 408);
            }
            // Wrong requests, of which each has its own answer.
            if path != "/events" || upper != "GET" {
                let status = ask(&upper, &real, &[bearer], "");
                if status >= 400 {
                    documented(path, method, status);
                }
            }
        }
    }
    let pause = ask("POST", "/queues/pause", &[bearer], "");
    assert_eq!(pause, 200);
    assert_eq!(
        ask("POST", "/run/async", &[bearer], &search(10).to_string()),
        202
    );
    let long = " ".repeat(70_000);
    for path in ["/run", "/run/async"] {
        for (body, status) in [(search(10).to_string(), 429), (long.clone(), 413)] {
            assert_eq!(ask("POST", path, &[bearer], &body), status, "{path}");
            documented(path, "post", status);
        }
        documented(path, "post", 503);
    }
    for (path, method) in [
        ("/status/{id}", "get"),
        ("/jobs", "get"),
        ("/jobs/{id}", "delete"),
    ] {
        documented(path, method, 503);
    }
}

#[test]
fn the_pages_load_nothing_from_elsewhere() {
    let service = Service::start(&[]);
    for path in ["/", "/docs"] {
        let answer = service.get(path);
        assert_eq!(
            (answer.status, &*answer.kind),
            (200, "text/html; charset=utf-8")
        );
        for elsewhere in ["https://", "//cdn", "src=\"http", "@import", "innerHTML"] {
            assert!(!answer.text.contains(elsewhere), "{path} has {elsewhere}");
        }
    }
}

#[test]
fn with_a_token_nothing_is_told_without_it() {
    let service = Service::start(&["--token", "secret"]);
    let asked = |path: &str, token: Option<&str>| {
        let request = service.agent().get(format!("{}{path}", service.url));
        let request = match token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        };
        request.call().unwrap().status().as_u16()
    };
    for path in ["/jobs", "/events", "/metrics", "/openapi.json", "/nothing"] {
        assert_eq!(asked(path, None), 401, "{path}");
        assert_eq!(asked(path, Some("wrong")), 401, "{path}");
    }
    assert_eq!(asked("/jobs", Some("secret")), 200);
    assert_eq!(asked("/health", None), 200);
    assert_eq!(asked("/", None), 200);
    assert_eq!(service.post("/run", &search(10)).status, 401);
}

#[test]
fn pages_of_other_sites_cannot_use_it() {
    let service = Service::start(&[]);
    let agent = service.agent();
    let url = format!("{}/queues/pause", service.url);
    let foreign = agent.post(&url).header("Origin", "https://example.org");
    assert_eq!(foreign.send_empty().unwrap().status(), 403);
    let own = agent.post(&url).header("Origin", &service.url);
    assert_eq!(own.send_empty().unwrap().status(), 200);
    let rebound = agent.get(format!("{}/jobs", service.url));
    let rebound = rebound.header("Host", "example.org").call().unwrap();
    assert_eq!(rebound.status(), 403);
}

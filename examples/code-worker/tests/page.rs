//! The page's server: access control, and the protocol over HTTP.

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the browser's tests have it as well"
)]
mod common;

use common::{Client, Program};
use fourway_testing::eventually;
use serde_json::{Value, json};

fn execute(client: &mut Client<'_>, id: u64, code: &str) -> Value {
    client.say(&json!({ "id": id, "op": "execute", "code": code }));
    loop {
        let answer = client.hear();
        if answer["id"] == id && answer["type"] != "output" {
            return answer;
        }
    }
}

#[test]
fn code_runs_for_whoever_has_the_token() {
    let program = Program::start(&[]);
    let mut client = program.connect();
    let code = "let x = await sleep(10).then(() => 20)";
    assert_eq!(execute(&mut client, 1, code)["kind"], "async");
    assert_eq!(execute(&mut client, 2, "x + 1")["value"], "21");
    client.say(&json!({ "id": 3, "op": "execute", "code": "print('hi'); input('n? ') + 1" }));
    assert_eq!(client.hear()["text"], "hi\n");
    let asks = client.hear();
    assert_eq!(asks["prompt"], "n? ");
    client.say(&json!({ "id": 4, "op": "input", "request": asks["request"], "value": "2" }));
    let mut both = [client.hear(), client.hear()];
    both.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(both[0]["value"], "\"21\"");
    // An invalid message gets a reply, and the connection goes on.
    client.say(&json!({ "id": 5, "op": "nonsense" }));
    assert_eq!(client.hear()["type"], "bad");
    // Another client has sessions of its own.
    let mut other = program.connect();
    assert_eq!(execute(&mut other, 1, "typeof x")["value"], "\"undefined\"");
    client.say(&json!({ "id": 6, "op": "shutdown" }));
    assert_eq!(client.hear()["type"], "ok");
    assert_eq!(client.answers.line(), None);
    assert_eq!(execute(&mut other, 2, "1")["value"], "1");
}

#[test]
fn a_shutdown_answers_what_runs_and_then_the_connection_ends() {
    let program = Program::start(&[]);
    let mut client = program.connect();
    let code = "print('begun'); for (;;) await null";
    client.say(&json!({ "id": 1, "op": "execute", "code": code }));
    assert_eq!(client.hear()["text"], "begun\n");
    client.say(&json!({ "id": 2, "op": "shutdown" }));
    let mut both = [client.hear(), client.hear()];
    both.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(both[0]["name"], "Closed");
    assert_eq!(both[1]["type"], "ok");
    assert_eq!(client.answers.line(), None);
}

#[test]
fn what_keeps_all_threads_is_interrupted() {
    for (runtime, model, code) in [
        ("std-thread", "route", "print(1); while (true) {}"),
        ("tokio", "thread", "print(1); while (true) {}"),
        ("smol", "route", "print(1); await null; for (;;) {}"),
        // The only thread that runs tasks.
        (
            "tokio-current-thread",
            "route",
            "print(1); await null; for (;;) {}",
        ),
        ("tokio-current-thread", "async", "print(1); while (true) {}"),
    ] {
        let program = Program::start(&["--runtime", runtime, "--model", model]);
        let mut client = program.connect();
        execute(&mut client, 1, "let x = 1");
        client.say(&json!({ "id": 2, "op": "execute", "code": code }));
        assert_eq!(client.hear()["type"], "output");
        client.say(&json!({ "id": 3, "op": "interrupt" }));
        let mut both = [client.hear(), client.hear()];
        both.sort_by_key(|answer| answer["id"].as_u64());
        assert_eq!(both[0]["name"], "Interrupted", "{runtime}, {model}");
        assert_eq!(execute(&mut client, 4, "x + 1")["value"], "2");
    }
}

#[test]
fn nobody_else_is_let_in() {
    let program = Program::start(&[]);
    let host = format!("host: {}", program.host);
    let right = program.right();
    let status = |request: &str, headers: &[&str]| program.ask(request, headers, "").status;
    let own = format!("origin: http://{}", program.host);
    assert_eq!(status("GET /", &[&host]), 200);
    for (headers, expected) in [
        (vec![host.as_str()], 401),
        (vec![&host, "authorization: Bearer x"], 401),
        (vec![&host, &right, "origin: http://example.org"], 403),
        (vec![&host, &right, "origin: null"], 403),
        (vec!["host: example.org", &right], 403),
        (
            vec!["host: example.org", &right, "origin: http://example.org"],
            403,
        ),
        (vec![&host, &right, &own], 200),
    ] {
        assert_eq!(status("POST /connect", &headers), expected, "{headers:?}");
    }
    // As a page whose name resolves to this address.
    assert_eq!(status("GET /", &["host: example.org"]), 403);
    assert_eq!(status("GET /", &[&host, "origin: http://example.org"]), 403);
    for nothing in ["GET /connect", "GET /other", "PUT /", "POST /send/x"] {
        let answer = status(nothing, &[&host, &right]);
        assert_eq!(answer, 404, "{nothing}");
    }
    assert_eq!(status("POST /send/999", &[&host, &right]), 410);
    // Only one of all these has connected.
    assert_eq!(program.connect().number, 2);
}

#[test]
fn answers_are_kept_from_others() {
    let program = Program::start(&[]);
    let host = format!("host: {}", program.host);
    for request in ["GET /", "GET /page.js", "GET /other", "POST /connect"] {
        let answer = program.ask(request, &[&host], "");
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            let found = answer.headers.iter().any(|line| line.starts_with(header));
            assert!(found, "{request}: {header}");
        }
        let shared = answer
            .headers
            .iter()
            .any(|line| line.starts_with("access-control"));
        assert!(!shared, "{request}");
    }
}

#[test]
fn sessions_end_with_their_client() {
    let program = Program::start(&["--sessions", "1"]);
    for round in 0..3 {
        let mut client = program.connect();
        // The place of the last one is free when its engine has gone.
        let free = std::cell::RefCell::new(&mut client);
        eventually("there is a place", || {
            execute(&mut free.borrow_mut(), 1, "globalThis.x = 1")["type"] == "result"
        });
        // It runs when the client leaves silently.
        client.say(&json!({ "id": 2, "op": "execute", "code": "print(1); for (;;) await null" }));
        assert_eq!(client.hear()["text"], "1\n", "{round}");
    }
}

#[test]
fn a_message_that_is_too_long_is_refused() {
    let program = Program::start(&[]);
    let mut client = program.connect();
    let path = format!("/send/{}", client.number);
    let long = "x".repeat(2 << 20);
    assert_eq!(program.post(&path, &long).status, 413);
    assert_eq!(execute(&mut client, 1, "1")["value"], "1");
}

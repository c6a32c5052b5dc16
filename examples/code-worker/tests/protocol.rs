//! The protocol: for any input, each line gets its reply, and the worker goes on.

#[path = "../fuzz/fuzz_targets/reader.rs"]
#[allow(unreachable_pub, reason = "the fuzzer has it as well")]
mod reader;

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use code_worker::{
    Limits, Worker,
    protocol::{Answer, LONGEST_LINE, Message, Reply, Request, VERSION, parse},
    server::serve,
};
use fourway::{AnyRuntime, execute::Model};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The text of a client, and then the end of the input.
struct Input(std::io::Cursor<Vec<u8>>);

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn runtimes() -> [AnyRuntime; 4] {
    [
        fourway_testing::any(),
        fourway_testing::any_tokio(),
        fourway_testing::any_current_thread(),
        fourway_testing::any_smol(),
    ]
}

fn worker(rt: &AnyRuntime) -> Worker {
    Worker::new(rt.clone(), Model::Route, Limits::default())
}

fn talk(rt: &AnyRuntime, input: &[u8]) -> Vec<Answer> {
    let output = Output::default();
    let input = Input(std::io::Cursor::new(input.to_vec()));
    serve(&worker(rt), input, output.clone()).unwrap();
    let bytes = output.0.lock().unwrap();
    let lines = std::str::from_utf8(&bytes).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A real client: it waits for its replies before it goes on.
#[cfg(unix)]
#[test]
fn a_conversation_over_a_socket() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    for rt in runtimes() {
        let (client, server) = UnixStream::pair().unwrap();
        let worker = worker(&rt);
        let serving = std::thread::spawn({
            let output = server.try_clone().unwrap();
            move || serve(&worker, &server, output).unwrap()
        });
        client
            .set_read_timeout(Some(fourway_testing::AGES))
            .unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        let mut client = client;
        let mut say = |message: Value| writeln!(client, "{message}").unwrap();
        let mut hear = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();

        say(json!({ "id": 1, "op": "hello", "version": 1 }));
        let hello = hear();
        assert_eq!(
            (&hello["type"], &hello["version"]),
            (&json!("hello"), &json!(VERSION))
        );
        say(json!({ "id": 2, "op": "execute", "code": "print('hi'); let x = await 20" }));
        assert_eq!(
            hear(),
            json!({ "id": 2, "type": "output", "stream": "out", "text": "hi\n" })
        );
        assert_eq!(
            hear(),
            json!({ "id": 2, "type": "result", "kind": "async", "value": null })
        );
        say(json!({ "id": 3, "op": "execute", "code": "x + Number(input('n?'))" }));
        let asks = hear();
        assert_eq!(
            (&asks["type"], &asks["prompt"]),
            (&json!("input_request"), &json!("n?"))
        );
        say(json!({ "id": 4, "op": "input", "request": asks["request"], "value": "1" }));
        // The two replies may come in either order.
        let mut both = [hear(), hear()];
        both.sort_by_key(|reply| reply["id"].as_u64());
        assert_eq!(
            both[0],
            json!({ "id": 3, "type": "result", "kind": "sync", "value": "21" })
        );
        assert_eq!(both[1], json!({ "id": 4, "type": "ok" }));
        say(json!({ "id": 5, "op": "execute", "code": "print(1); for (;;) {}" }));
        assert_eq!(hear()["type"], "output");
        say(json!({ "id": 6, "op": "interrupt" }));
        let mut both = [hear(), hear()];
        both.sort_by_key(|reply| reply["id"].as_u64());
        assert_eq!(
            (&both[0]["type"], &both[0]["name"]),
            (&json!("error"), &json!("Interrupted"))
        );
        say(json!({ "id": 7, "op": "execute", "code": "null.x" }));
        let error = hear();
        assert_eq!(error["name"], "TypeError");
        assert_eq!(
            (&error["line"], &error["caret"]),
            (&json!(1), &json!("null.x\n^"))
        );
        say(json!({ "id": 8, "op": "is_complete", "code": "if (1) {" }));
        assert_eq!(hear()["status"], "incomplete");
        say(json!({ "id": 9, "op": "complete", "code": "Mat" }));
        assert_eq!(hear()["matches"], json!(["Math"]));
        // What comes before the dot is no name, and is not executed.
        for code in ["'é'.le", "f().l", "a[0].le", ".l", "...le"] {
            say(json!({ "id": 9, "op": "complete", "code": code }));
            assert_eq!(hear()["matches"], json!([]), "{code}");
        }
        say(json!({ "id": 10, "op": "inspect", "name": "x" }));
        assert_eq!(hear()["text"], "20");
        say(json!({ "id": 11, "op": "status" }));
        assert_eq!(hear()["sessions"][0]["name"], "main");
        say(json!({ "id": 12, "op": "nonsense" }));
        assert_eq!((hear()["type"].clone(), hear_nothing()), (json!("bad"), ()));
        say(json!({ "id": 13, "op": "reset" }));
        assert_eq!(hear()["type"], "ok");
        say(json!({ "id": 14, "op": "execute", "code": "typeof x" }));
        assert_eq!(hear()["value"], "\"undefined\"");
        say(json!({ "id": 15, "op": "shutdown" }));
        assert_eq!(hear()["type"], "ok");
        serving.join().unwrap();
        assert!(lines.next().is_none());
    }
}

fn hear_nothing() {}

/// The conversation that the documentation shows, as it stands there.
#[cfg(unix)]
#[test]
fn the_documented_conversation() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    let document = include_str!("../PROTOCOL.md");
    let block = document.split("```text\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    for rt in runtimes() {
        let (client, server) = UnixStream::pair().unwrap();
        let worker = worker(&rt);
        let serving = std::thread::spawn({
            let output = server.try_clone().unwrap();
            move || serve(&worker, &server, output).unwrap()
        });
        client
            .set_read_timeout(Some(fourway_testing::AGES))
            .unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        let mut hear = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
        let mut heard: Vec<Value> = Vec::new();
        for line in block.lines() {
            let (who, json) = line.split_at(2);
            if who == "> " {
                assert_eq!(heard, [] as [Value; 0], "before {line}");
                writeln!(&client, "{json}").unwrap();
                continue;
            }
            // Replies to different requests may come in any order.
            let expected: Value = serde_json::from_str(json).unwrap();
            while !heard.contains(&expected) {
                assert!(heard.len() < 2, "{expected} is not among {heard:?}");
                heard.push(hear());
            }
            heard.retain(|reply| *reply != expected);
        }
        client.shutdown(std::net::Shutdown::Both).unwrap();
        serving.join().unwrap();
    }
}

/// Each request has one final reply, also if the client sends no more.
#[test]
fn requests_before_the_end_of_the_input_are_answered() {
    let input = [
        json!({ "id": 1, "op": "execute", "code": "await sleep(20); 1" }),
        json!({ "id": 2, "op": "execute", "code": "sleep(20); print('two')" }),
        json!({ "id": 3, "op": "execute", "code": "input('?')", "session": "a" }),
        json!({ "id": 4, "op": "execute", "code": "await input('?')", "session": "b" }),
        json!({ "id": 5, "op": "complete", "code": "Mat" }),
    ];
    let input = input.map(|message| message.to_string()).join("\n");
    for rt in runtimes() {
        let mut answers = talk(&rt, input.as_bytes());
        answers.retain(|answer| !matches!(answer.reply, Reply::InputRequest { .. }));
        answers.sort_by_key(|answer| answer.id);
        let ids: Vec<_> = answers.iter().map(|answer| answer.id.unwrap()).collect();
        assert_eq!(ids, [1, 2, 2, 3, 4, 5], "{answers:?}");
        assert!(matches!(&answers[0].reply, Reply::Result { value: Some(v), .. } if v == "1"));
        assert!(matches!(&answers[1].reply, Reply::Output { text, .. } if text == "two\n"));
        for asked in &answers[3..5] {
            let is_told = matches!(&asked.reply, Reply::Error(error)
                if error.message == "nobody is there to answer");
            assert!(is_told, "{asked:?}");
        }
    }
}

#[test]
fn requests_before_a_shutdown_are_answered() {
    let input = [
        json!({ "id": 1, "op": "execute", "code": "for (;;) {}" }),
        json!({ "id": 2, "op": "execute", "code": "1" }),
        json!({ "id": 3, "op": "execute", "code": "await new Promise(() => {})", "session": "a" }),
        json!({ "id": 4, "op": "shutdown" }),
        json!({ "id": 5, "op": "status" }),
    ];
    let input = input.map(|message| message.to_string()).join("\n");
    for rt in runtimes() {
        let mut answers = talk(&rt, input.as_bytes());
        answers.sort_by_key(|answer| answer.id);
        let ids: Vec<_> = answers.iter().map(|answer| answer.id.unwrap()).collect();
        assert_eq!(ids, [1, 2, 3, 4], "{answers:?}");
        for closed in &answers[..3] {
            let is_told = matches!(&closed.reply, Reply::Error(error) if error.name == "Closed");
            assert!(is_told, "{closed:?}");
        }
    }
}

#[test]
fn bad_lines_are_answered_and_survived() {
    for rt in runtimes() {
        let mut input = b"{}\nnothing\n\xff\xfe\n[1]\n\n{\"id\":5}\n{\"id\":6,\"op\":\"input\",\"request\":1,\"value\":\"\"}\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', LONGEST_LINE + 1));
        input.extend(b"\n{\"id\":7,\"op\":\"status\"}");
        let answers = talk(&rt, &input);
        let ids: Vec<_> = answers.iter().map(|answer| answer.id).collect();
        assert_eq!(
            ids,
            [None, None, None, None, Some(5), Some(6), None, Some(7)]
        );
        for answer in &answers[..7] {
            assert!(matches!(answer.reply, Reply::Bad { .. }), "{answer:?}");
        }
        assert_eq!(
            answers[7].reply,
            Reply::Status {
                sessions: Vec::new(),
                overruns: 0,
            }
        );
    }
}

#[test]
fn completeness() {
    let parser = code_worker::detect::Parser::default();
    use code_worker::detect::Completeness::{Complete, Incomplete, Invalid};
    let cases = [
        ("", Complete),
        ("1", Complete),
        ("await 1", Complete),
        ("function f() {", Incomplete),
        ("await f(", Incomplete),
        ("let x =", Incomplete),
        ("`text", Incomplete),
        ("/* comment", Incomplete),
        ("[1,", Incomplete),
        ("class C {\n  m() {\n", Incomplete),
        ("1 +", Incomplete),
        ("`text\\", Incomplete),
        ("`text\n", Incomplete),
        ("`text 'it", Incomplete),
        ("`${", Incomplete),
        ("`${`", Incomplete),
        ("`${f(`a` + `b", Incomplete),
        ("f(`text\nmore", Incomplete),
        ("await f(`text", Incomplete),
        ("'text\\", Incomplete),
        ("\"text\\", Incomplete),
        ("'text\\\n", Incomplete),
        ("f('text\\\nmore\\", Incomplete),
        ("/* it's", Incomplete),
        ("'text\\\\", Invalid),
        ("'text", Invalid),
        ("\"text", Invalid),
        ("'text\n", Invalid),
        ("'text\\\nmore", Invalid),
        ("let a = 'text\nlet b = 2", Invalid),
        ("let a = 'text\nlet b = `", Invalid),
        ("await f('text", Invalid),
        ("`${'text", Invalid),
        ("`${'text\n`", Invalid),
        ("x = 'it''s'", Invalid),
        ("/text", Invalid),
        ("/text\n", Invalid),
        ("/[/", Invalid),
        ("'unexpected end of string", Invalid),
        ("let x; let x = 'unexpected end of string'", Invalid),
        ("let = = 1", Invalid),
        (")", Invalid),
        ("function h() { await 1 }", Invalid),
    ];
    for (code, expected) in cases {
        assert_eq!(
            parser.completeness(code),
            expected,
            "{code}: {:?}",
            parser.check(code)
        );
    }
}

/// The word in all places where it is not an operator, far more often than in real code.
#[test]
fn many_words() {
    use code_worker::detect::{Kind, Parser};
    let parser = Parser::default();
    let many = format!("'{}'", "await (1) ".repeat(10_000));
    assert_eq!(parser.detect(&many), Ok(Kind::Sync));
    assert_eq!(
        parser.detect(&format!("{many}; await (1)")),
        Ok(Kind::Async)
    );
    let names = "x.await; ".repeat(1000);
    assert!(
        parser.detect(&names).is_ok_and(|kind| kind == Kind::Sync)
            || parser.detect(&names).is_err()
    );
}

fn requests() -> impl Strategy<Value = Request> {
    let text = any::<String>;
    prop_oneof![
        any::<u32>().prop_map(|version| Request::Hello { version }),
        (text(), text()).prop_map(|(session, code)| Request::Execute { session, code }),
        (any::<u64>(), text()).prop_map(|(request, value)| Request::Input { request, value }),
        (text(), any::<bool>()).prop_map(|(session, all)| Request::Interrupt { session, all }),
        text().prop_map(|code| Request::IsComplete { code }),
        (text(), text()).prop_map(|(session, code)| Request::Complete { session, code }),
        (text(), text()).prop_map(|(session, name)| Request::Inspect { session, name }),
        Just(Request::Status),
        text().prop_map(|session| Request::Reset { session }),
        Just(Request::Shutdown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The worker reads exactly the messages that a client writes.
    #[test]
    fn messages_survive_the_wire(id: u64, request in requests()) {
        let message = Message { id, request };
        let line = serde_json::to_vec(&message).unwrap();
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(parse(&line), Ok(message));
    }

    /// The fuzzer's check, for damaged messages.
    #[test]
    fn damaged_messages_are_answered(
        messages in prop::collection::vec((any::<u64>(), requests()), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..6),
        cut in 1..50usize,
    ) {
        let mut bytes = Vec::new();
        for (id, request) in messages {
            bytes.extend(serde_json::to_vec(&Message { id, request }).unwrap());
            bytes.push(b'\n');
        }
        for (place, byte, kind) in damage {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.drain(place..(place + usize::from(byte) % 8).min(bytes.len() - 1).max(place))),
            }
        }
        reader::check(cut, &bytes);
    }

    /// The same, for random bytes.
    #[test]
    fn any_bytes_are_answered(
        bytes in prop::collection::vec(
            prop_oneof![
                Just(b'\n'), any::<u8>(), prop::sample::select(b"{}[]\":,\\0123456789.eidop".to_vec())
            ],
            0..300,
        ),
        cut in 1..50usize,
    ) {
        reader::check(cut, &bytes);
    }
}

/// The fuzzer's seeds.
#[test]
fn the_fuzzers_seeds_are_answered() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for cut in 1..bytes.len() {
            reader::check(cut, &bytes[1..]);
        }
        count += 1;
    }
    assert!(count >= 3, "{count}");
}

/// Longer than the fuzzer makes them.
#[test]
fn the_longest_lines_are_answered() {
    for more in [0, 1, 2, 5000] {
        let mut bytes = vec![b' '; LONGEST_LINE + more];
        let message = br#"{"id":1,"op":"status"}"#;
        bytes[..message.len()].copy_from_slice(message);
        bytes.extend(b"\n{}");
        for cut in [1000, LONGEST_LINE, LONGEST_LINE + 1] {
            reader::check(cut, &bytes);
        }
    }
}

/// A client in JavaScript sends such a line by itself.
#[test]
fn halves_of_characters_in_a_request_are_replaced() {
    let sent = [
        (r#""\ud800""#, "\u{fffd}"),
        (r#""a\udc00b\uD8""#, ""),
        (r#""a\udc00b""#, "a\u{fffd}b"),
        (r#""\ud83d\ude00 \uD83D""#, "\u{1f600} \u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\\ud800 \\\ud800""#, "\\ud800 \\\u{fffd}"),
    ];
    for (text, expected) in sent {
        let line = format!(r#"{{"id":7,"op":"execute","code":{text}}}"#);
        let parsed = parse(line.as_bytes());
        if expected.is_empty() {
            assert_eq!(parsed.unwrap_err().id, None, "{line}");
            continue;
        }
        let expected = json!({ "id": 7, "op": "execute", "code": expected });
        assert_eq!(parsed, parse(expected.to_string().as_bytes()), "{line}");
    }
}

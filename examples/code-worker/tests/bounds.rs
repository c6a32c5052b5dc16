//! Bounds on what a client may make the worker hold: it gets an error or waits, and other clients
//! are not affected.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use code_worker::{
    CellError, Connection, Limits, Worker,
    protocol::{Answer, LONGEST_NAME, Message, Reply, Request},
    server::serve,
};
use fourway::{AnyRuntime, Spawner, Timer, execute::Model};
use fourway_testing::{AGES, eventually, run};
use proptest::prelude::*;

fn client(rt: &AnyRuntime, model: Model, limits: Limits) -> Connection {
    Worker::new(rt.clone(), model, limits).connect()
}

fn execute(id: u64, session: &str, code: &str) -> Message {
    let (session, code) = (session.to_owned(), code.to_owned());
    let request = Request::Execute { session, code };
    Message { id, request }
}

fn value(rt: &AnyRuntime, connection: &Connection, code: &str) -> Result<String, CellError> {
    let (_, outcome) = run(rt, connection.execute("main", code, 1));
    outcome.map(Option::unwrap_or_default)
}

/// The next reply other than output.
fn reply(rt: &AnyRuntime, connection: &Connection) -> Answer {
    loop {
        let pop = rt.spawn(connection.outbox().pop());
        let answer = run(rt, rt.timeout(AGES, pop)).expect("a reply");
        let answer = answer.unwrap().expect("it is open");
        if !matches!(answer.reply, Reply::Output { .. }) {
            return answer;
        }
    }
}

fn error(answer: Answer) -> CellError {
    match answer.reply {
        Reply::Error(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_that_wait() {
    let rt = fourway_testing::any();
    let limits = Limits {
        requests: 3,
        ..Limits::default()
    };
    for model in Model::ALL {
        let connection = client(&rt, model, limits);
        for id in 1..=3 {
            connection.handle(execute(id, "main", "await new Promise(() => {})"));
        }
        connection.handle(execute(4, "other", "1"));
        let refused = reply(&rt, &connection);
        assert_eq!(refused.id, Some(4));
        assert_eq!(error(refused).name, "Refused");
        // There is room for requests that are answered at once.
        let (session, all) = ("main".to_owned(), true);
        let request = Request::Interrupt { session, all };
        connection.handle(Message { id: 5, request });
        let mut ended: Vec<_> = (0..4)
            .map(|_| reply(&rt, &connection).id.unwrap())
            .collect();
        ended.sort_unstable();
        assert_eq!(ended, [1, 2, 3, 5]);
        eventually("there is room again", || {
            connection.handle(execute(6, "main", "7"));
            matches!(reply(&rt, &connection).reply, Reply::Result { .. })
        });
    }
}

#[test]
fn code_that_waits() {
    let rt = fourway_testing::any();
    let connection = client(&rt, Model::Route, Limits::default());
    connection.handle(execute(1, "main", "await new Promise(() => {})"));
    let code = format!("/*{}*/", "x".repeat(1_000_000));
    for id in 2..=18 {
        connection.handle(execute(id, "main", &code));
    }
    let refused = reply(&rt, &connection);
    assert_eq!(refused.id, Some(18));
    assert_eq!(error(refused).name, "Refused");
}

#[test]
fn sessions_of_one_client() {
    let rt = fourway_testing::any();
    let limits = Limits {
        client_sessions: 2,
        ..Limits::default()
    };
    let worker = Worker::new(rt.clone(), Model::Route, limits);
    let (one, two) = (worker.connect(), worker.connect());
    for name in ["a", "b"] {
        run(&rt, one.execute(name, "1", 1)).1.unwrap();
    }
    let refused = run(&rt, one.execute("c", "1", 1)).1.unwrap_err();
    assert_eq!(refused.name, "Refused");
    run(&rt, two.execute("c", "1", 1)).1.unwrap();
    one.reset("a");
    run(&rt, one.execute("c", "1", 1)).1.unwrap();
}

#[test]
fn names_and_texts() {
    let rt = fourway_testing::any();
    let connection = client(&rt, Model::Route, Limits::default());
    connection.handle(execute(1, &"x".repeat(LONGEST_NAME + 1), "1"));
    assert!(matches!(reply(&rt, &connection).reply, Reply::Bad { .. }));
    connection.handle(execute(2, &"x".repeat(LONGEST_NAME), "1"));
    assert!(matches!(
        reply(&rt, &connection).reply,
        Reply::Result { .. }
    ));

    let long = value(&rt, &connection, "'x'.repeat(2e6)").unwrap_err();
    assert_eq!(long.name, "OutputLimit");
    for code in [
        "throw Error('x'.repeat(2e6))",
        "throw 'ä'.repeat(2e6)",
        "await null; throw 'x'.repeat(2e6)",
    ] {
        let long = value(&rt, &connection, code).unwrap_err();
        assert!(
            long.message.ends_with("...") && long.message.len() < 20_000,
            "{code}"
        );
    }
    let long = value(&rt, &connection, "input('x'.repeat(1e5))").unwrap_err();
    assert!(long.message.contains("prompt"), "{long}");
    assert_eq!(value(&rt, &connection, "1"), Ok("1".to_owned()));
}

#[test]
fn what_goes_to_host_functions_and_back() {
    let rt = fourway_testing::any();
    let connection = client(&rt, Model::Route, Limits::default());
    let code = "{ const s = 'x'.repeat(3e6); let n = 0; \
                try { for (;; n++) sleep(1e9, s) } catch (e) { print(e.message) } await n }";
    assert_eq!(value(&rt, &connection, code), Ok("5".to_owned()));
    let said = run(&rt, connection.outbox().pop()).unwrap().reply;
    let is_refused = matches!(&said, Reply::Output { text, .. } if text.contains("too much"));
    assert!(is_refused, "{said:?}");
    connection.reset("main");
    // In the new session as well, there is room again when a function has ended.
    for _ in 0..3 {
        let code = "await sleep(1, 'x'.repeat(15e6)); 1";
        assert_eq!(value(&rt, &connection, code), Ok("1".to_owned()));
    }
    #[cfg(unix)]
    for path in ["/dev/zero", "/dev/stdin", "/tmp"] {
        // The input of the tests may be one.
        if std::fs::metadata(path).is_ok_and(|it| it.is_file()) {
            continue;
        }
        let error = value(&rt, &connection, &format!("readFile('{path}')")).unwrap_err();
        assert!(error.message.contains("no regular file"), "{error}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(9 << 20).unwrap();
    let path = file.path().display().to_string();
    let error = value(&rt, &connection, &format!("readFile('{path}')")).unwrap_err();
    assert!(error.message.contains("more than 8388608 bytes"), "{error}");
}

/// A client that reads nothing.
#[test]
fn output_in_place_ends_when_nobody_reads() {
    let rt = fourway_testing::any();
    let connection = client(&rt, Model::Async, Limits::default());
    let code = "for (let i = 0; i < 9; i++) print('x'.repeat(100000)); 1";
    let mut ends = (0..40).map(|_| value(&rt, &connection, code));
    let refused = ends.find_map(Result::err).expect("it is too much at last");
    assert_eq!(refused.name, "OutputLimit");
    assert!(connection.outbox().waiting() < 18 << 20);
    while connection.outbox().is_full() {
        run(&rt, connection.outbox().pop());
    }
    assert_eq!(value(&rt, &connection, "1"), Ok("1".to_owned()));
}

/// An execution has one final reply, also if there is no room for its prompt.
#[test]
fn a_prompt_that_has_no_room_fails_in_the_code() {
    let rt = fourway_testing::any();
    let connection = client(&rt, Model::Route, Limits::default());
    for _ in 0..16 {
        let (stream, text) = ("out".to_owned(), "x".repeat(1 << 20));
        connection
            .outbox()
            .push(Some(1), Reply::Output { stream, text });
    }
    let before = connection.outbox().waiting();
    let code = "try { input('x'.repeat(2000)) } catch (error) { error.message }";
    connection.handle(execute(1, "main", code));
    eventually("it answers", || connection.outbox().waiting() > before);
    let answer = reply(&rt, &connection);
    assert_eq!(answer.id, Some(1));
    let is_told = matches!(&answer.reply, Reply::Result { value: Some(text), .. }
        if text.contains("wait to be read"));
    assert!(is_told, "{answer:?}");
    assert_eq!(connection.outbox().waiting(), 0);
}

#[test]
fn prompts_that_nobody_reads_hold_up_no_requests() {
    let rt = fourway_testing::any();
    let connection = client(&rt, Model::Route, Limits::default());
    let code = "for (let i = 0; i < 9; i++) input('x'.repeat(6e4)); await new Promise(() => {})";
    connection.handle(execute(1, "main", code));
    eventually("it asks", || connection.outbox().waiting() > 9 * 60_000);
    let room = connection.outbox().ready_for_requests();
    run(&rt, rt.timeout(AGES, room)).expect("room for an interrupt");
}

/// Sends requests as fast as they are taken, and counts them.
struct Flood(Arc<AtomicUsize>);

const FLOOD: usize = 4 << 20;

impl Read for Flood {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = b"{\"id\":1,\"op\":\"status\"}\n";
        if self.0.fetch_add(line.len(), Ordering::SeqCst) > FLOOD {
            return Ok(0);
        }
        buffer[..line.len()].copy_from_slice(line);
        Ok(line.len())
    }
}

/// Reads nothing until it is told to.
#[derive(Clone, Default)]
struct Reluctant(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Write for Reluctant {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        let waited = changed.wait_timeout_while(state, AGES, |(reads, _)| !*reads);
        let (mut state, time) = waited.unwrap();
        assert!(!time.timed_out(), "nobody reads");
        state.1 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_sends_and_never_reads_is_not_read_either() {
    let rt = fourway_testing::any();
    let worker = Worker::new(rt.clone(), Model::Route, Limits::default());
    let (sent, output) = (Arc::new(AtomicUsize::new(0)), Reluctant::default());
    let serving = std::thread::spawn({
        let (worker, sent, output) = (worker.clone(), sent.clone(), output.clone());
        move || serve(&worker, Flood(sent), output)
    });
    // Until the count has not changed for a while. A slow machine may look like that: then less is
    // asserted.
    let mut before = usize::MAX;
    while sent.load(Ordering::SeqCst) != before || before == 0 {
        before = sent.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
    }
    // Replies of 256 KiB, each longer than its request.
    assert!(before < 256 * 1024, "{before}");
    let other = worker.connect();
    assert_eq!(value(&rt, &other, "1 + 1"), Ok("2".to_owned()));
    output.0.0.lock().unwrap().0 = true;
    output.0.1.notify_all();
    serving.join().unwrap().unwrap();
    // All requests were answered.
    assert!(sent.load(Ordering::SeqCst) > FLOOD);
    assert!(output.0.0.lock().unwrap().1 > FLOOD);
}

/// Requests of a client that reads nothing.
fn requests() -> impl Strategy<Value = Request> {
    let code = prop::sample::select(vec![
        "'x'.repeat(1e6)",
        "await null; 'x'.repeat(9e5)",
        "for (let i = 0; i < 9; i++) print('x'.repeat(1e5))",
        "throw Error('x'.repeat(1e6))",
        "for (let i = 0; i < 1e4; i++) globalThis['name' + i] = i",
        "globalThis['x'.repeat(1e6)] = 1",
        "fetchSkill('x'.repeat(1e6)); input('?'); await null",
        "input('x'.repeat(6e4))",
        "syntax error",
    ]);
    let session = || prop::sample::select(vec!["a".to_owned(), "b".to_owned(), "c".repeat(300)]);
    prop_oneof![
        4 => (session(), code).prop_map(|(session, code)| Request::Execute { session, code: code.to_owned() }),
        1 => session().prop_map(|session| Request::Complete { session, code: String::new() }),
        1 => session().prop_map(|session| Request::Inspect { session, name: "globalThis".to_owned() }),
        1 => Just(Request::Status),
        1 => Just(Request::IsComplete { code: "(".repeat(1000) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any requests, the memory kept for the client is bounded, and other clients are served.
    #[test]
    fn what_waits_for_a_client_is_bounded(requests in prop::collection::vec(requests(), 1..120)) {
        let rt = fourway_testing::any();
        let limits = Limits { requests: 50, time: Duration::from_secs(5), ..Limits::default() };
        for model in [Model::Route, Model::Async] {
            let worker = Worker::new(rt.clone(), model, limits);
            let (connection, other) = (worker.connect(), worker.connect());
            for (id, request) in requests.iter().enumerate() {
                let request = request.clone();
                connection.handle(Message { id: id as u64, request });
                // The limit, the output of one execution beyond it, and short replies.
                let most = (16 << 20) + (2 << 20) + 2048 * requests.len();
                prop_assert!(connection.outbox().waiting() < most);
            }
            prop_assert_eq!(value(&rt, &other, "1 + 1"), Ok("2".to_owned()));
            connection.interrupt("a", true);
            connection.interrupt("b", true);
        }
    }
}

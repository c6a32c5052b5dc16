//! What else a client asks: input, completion, inspection; and what is refused.

use code_worker::{Limits, Worker, protocol::Reply};
use fourway::{AnyRuntime, Compose, Shutdown, Spawner, execute::Model};

use super::{execute, in_each, ok, run};

pub(super) fn input(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let mut codes = vec!["(await input('name? ')).length"];
        if model != Model::Async {
            codes.push("input('name? ').length");
        }
        for code in codes {
            let execution = rt.spawn(connection.execute("main", code, 3));
            let request = loop {
                let answer = run(rt, connection.outbox().pop()).unwrap();
                if let Reply::InputRequest { request, prompt } = answer.reply {
                    assert_eq!((answer.id, prompt.as_str()), (Some(3), "name? "));
                    break request;
                }
            };
            assert!(!connection.outbox().answer(request + 100, String::new()));
            assert!(connection.outbox().answer(request, "Ada".to_owned()));
            assert_eq!(run(rt, execution).unwrap().1, ok("3"));
        }
    });
}

pub(super) fn completion_and_inspection(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        let code = "var alpha = { beta: 1, get gamma() { throw 1 } }; let delta = { epsilon: { zeta: 1 } }";
        execute(rt, connection, code).unwrap();
        let complete = |text: &str| run(rt, connection.complete("main", text.to_owned(), 1));
        assert_eq!(complete("1 + alp"), (4, vec!["alpha".to_owned()]));
        // Names that are not properties of the global object. A local name and a lost one are not
        // listed.
        let declarations = [
            "const eta1 = 1, [{ eta2 }] = [{}]; class eta3 {} function f(eta5) { let eta6 }",
            "let eta4 = await 1",
            "let eta7 = (() => { throw 1 })()",
        ];
        for code in declarations {
            let _ = execute(rt, connection, code);
        }
        assert_eq!(complete("eta").1, ["eta1", "eta2", "eta3", "eta4"]);
        assert_eq!(complete("alpha.be"), (6, vec!["beta".to_owned()]));
        assert_eq!(complete("delta.epsilon.z"), (14, vec!["zeta".to_owned()]));
        assert!(complete("Mat").1.contains(&"Math".to_owned()));
        assert_eq!(complete("f(alpha).be").1, Vec::<String>::new());
        assert_eq!(complete("unknown.be").1, Vec::<String>::new());
        assert!(complete("awa").1.contains(&"await".to_owned()));
        let inspect = |name: &str| run(rt, connection.inspect("main", name.to_owned(), 1));
        assert_eq!(inspect("alpha").unwrap(), "{ beta: 1, gamma: [getter] }");
        assert_eq!(inspect("nothing").unwrap_err().name, "ReferenceError");
        assert_eq!(inspect("f()").unwrap_err().name, "Refused");
    });
}

pub(super) fn what_would_block_is_refused_in_place(rt: AnyRuntime) {
    let connection = Worker::new(rt.clone(), Model::Async, Limits::default()).connect();
    let error = execute(&rt, &connection, "sleep(1)").unwrap_err();
    assert!(error.message.contains("await sleep(..)"), "{error}");
}

#[test]
fn a_syntax_error_needs_no_pool() {
    let pool = fourway_testing::std_thread();
    let tasks = fourway_testing::any();
    let rt = AnyRuntime::new(Compose::new(tasks, pool.clone()));
    pool.close_pool().unwrap();
    let connection = Worker::new(rt.clone(), Model::Async, Limits::default()).connect();
    // The tokens tell that it is async, so it is run; then the parser is asked for a better error.
    let error = execute(&rt, &connection, "await x y").unwrap_err();
    assert_eq!(error.name, "SyntaxError", "{error}");
}

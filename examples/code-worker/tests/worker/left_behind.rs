//! Work that goes on after its execution, and errors that no code takes.

use code_worker::{Limits, protocol::Reply};
use fourway::{AnyRuntime, Spawner, Task};

use super::{
    execute, in_each, name, next_output, ok, run, wait_for_output, wait_for_output_blocking,
};

pub(super) fn what_is_left_behind_goes_on_between_executions(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        let code = "let ticks = 0; setTimeout(function again() { ticks++; setTimeout(again, 1); if (ticks === 3) print('three') }, 1); 0";
        assert_eq!(execute(rt, connection, code), ok("0"));
        // No execution runs; the output goes to the client of the last one.
        wait_for_output(rt, connection, "three");
        assert_eq!(execute(rt, connection, "ticks >= 3"), ok("true"));
    });
}

pub(super) fn errors_that_no_code_takes_are_bounded_and_end_with_an_interruption(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let errors = || {
            let answer = run(rt, connection.outbox().pop()).expect("it is open");
            match answer.reply {
                Reply::Output { stream, text } => (stream, text),
                other => panic!("{other:?}"),
            }
        };
        let code = "for (let i = 0; i < 1000; i++) Promise.reject(i); 1";
        assert_eq!(execute(rt, connection, code), ok("1"));
        let (stream, text) = errors();
        assert_eq!((stream.as_str(), text.lines().count()), ("err", 101));
        assert!(text.ends_with("Uncaught 99\n... 900 more\n"), "{text}");
        let code = "Promise.reject(Error('x'.repeat(1e6))); 2";
        assert_eq!(execute(rt, connection, code), ok("2"));
        assert!(errors().1.len() < 5000);

        let code = "Promise.reject('interrupted'); print('begun'); for (;;) {}";
        let endless = rt.spawn(connection.execute("main", code, 1));
        wait_for_output_blocking(connection);
        connection.interrupt("main", false);
        assert_eq!(name(endless.wait().unwrap().1), "Interrupted");
        let code = "Promise.reject('next'); 3";
        assert_eq!(execute(rt, connection, code), ok("3"));
        assert_eq!(errors().1, "Uncaught \"next\"\n", "{model}");
    });
}

/// The report reads an error's message, which may be code that rejects further promises.
pub(super) fn errors_in_the_report_of_others_are_told_next(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let error = || next_output(rt, connection).1;
        let code = "var told = 0; \
                    { const e = Error(); const get = () => { \
                      for (let i = 0; i < 200; i++) Promise.reject(++told); return 'outer' }; \
                    Object.defineProperty(e, 'message', { get }); Promise.reject(e); } 1";
        assert_eq!(execute(rt, connection, code), ok("1"));
        assert!(error().starts_with("Uncaught Error: outer\n"), "{model}");
        let inner = error();
        assert!(inner.starts_with("Uncaught 1\nUncaught 2\n"), "{inner}");
        assert!(inner.ends_with("Uncaught 100\n... 100 more\n"), "{inner}");

        // It takes the next error that would be told, and one that is new.
        let code = "{ const e = Error(), first = Promise.reject(e), next = Promise.reject('taken'); \
                    const get = () => { next.catch(() => {}); Promise.reject('new').catch(() => {}); \
                      Promise.reject('told'); return 'first' }; \
                    Object.defineProperty(e, 'message', { get }); } 2";
        assert_eq!(execute(rt, connection, code), ok("2"));
        assert!(error().starts_with("Uncaught Error: first\n"), "{model}");
        assert_eq!(error(), "Uncaught \"told\"\n", "{model}");

        // One in each report, without an end, holds up nobody, and ends with an interruption.
        let code = "(function again() { const e = Error(); \
                    Object.defineProperty(e, 'message', { get() { again(); return 'again' } }); \
                    Promise.reject(e); })(); 3";
        assert_eq!(execute(rt, connection, code), ok("3"));
        for _ in 0..3 {
            assert!(error().starts_with("Uncaught Error: again\n"), "{model}");
        }
    });
}

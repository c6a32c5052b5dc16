//! Interruption, limits, input, work left behind: on every runtime, in every model.

mod interruptions;
mod left_behind;
mod limits;
mod lost;
mod memory;
mod requests;

use code_worker::{CellError, Connection, Limits, Worker, protocol::Reply};
use fourway::{AnyRuntime, Timer, execute::Model};
use fourway_testing::{AGES, eventually, on_every_runtime, run};
use {interruptions::*, left_behind::*, limits::*, lost::*, memory::*, requests::*};

type Value = Result<Option<String>, CellError>;

on_every_runtime!(erased
    interruptions
    interrupting_what_waits_in_line
    time
    memory
    code_in_full_memory_is_compiled
    code_that_compiles_in_full_memory_ends
    a_session_goes_on_after_values_that_are_freed_at_its_end
    a_session_goes_on_after_an_array_that_fills_its_memory
    what_is_left_behind_in_full_memory_goes_on
    what_is_left_behind_and_fills_the_memory_is_told
    completion_and_inspection_in_full_memory_discard_nothing
    completion_that_fills_the_memory_is_told
    output
    output_that_nobody_takes_holds_up_nobody_else
    recursion
    sessions
    no_session_after_the_end
    tasks
    what_does_not_end_is_lost_and_others_notice_nothing
    what_does_not_end_at_its_limit_is_lost
    input
    what_is_left_behind_goes_on_between_executions
    what_was_interrupted_does_not_answer_for_the_next_one
    what_was_interrupted_does_not_go_on
    errors_that_no_code_takes_are_bounded_and_end_with_an_interruption
    errors_in_the_report_of_others_are_told_next
    a_reset_ends_what_runs
    completion_and_inspection
    what_would_block_is_refused_in_place
);

fn in_each(rt: &AnyRuntime, limits: Limits, test: impl Fn(&AnyRuntime, &Connection, Model)) {
    for model in Model::ALL {
        eprintln!("in {model}");
        let worker = Worker::new(rt.clone(), model, limits);
        test(rt, &worker.connect(), model);
        // All sessions end with their client.
        eventually("the sessions end", || worker.sessions() == 0);
    }
}

fn execute(rt: &AnyRuntime, connection: &Connection, code: &str) -> Value {
    run(rt, connection.execute("main", code, 1)).1
}

fn ok(text: &str) -> Value {
    Ok(Some(text.to_owned()))
}

fn name(value: Value) -> String {
    value.expect_err("an error").name
}

/// Waits for a line of output, so that the code is known to run.
fn wait_for_output(rt: &AnyRuntime, connection: &Connection, expected: &str) {
    loop {
        let answer = run(rt, connection.outbox().pop()).expect("it is open");
        if matches!(&answer.reply, Reply::Output { text, .. } if text.trim() == expected) {
            return;
        }
    }
}

/// Without the runtime's threads, all of which the code may have.
fn wait_for_output_blocking(connection: &Connection) {
    use std::{
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Wake},
        thread::{Thread, current, park_timeout},
    };
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(current())).into();
    let mut cx = Context::from_waker(&waker);
    loop {
        let mut pop = pin!(connection.outbox().pop());
        let answer = loop {
            match pop.as_mut().poll(&mut cx) {
                Poll::Ready(answer) => break answer.expect("it is open"),
                Poll::Pending => park_timeout(AGES),
            }
        };
        if matches!(answer.reply, Reply::Output { .. }) {
            return;
        }
    }
}

/// The next output, with its stream.
fn next_output(rt: &AnyRuntime, connection: &Connection) -> (String, String) {
    let answer = run(rt, rt.timeout(AGES, connection.outbox().pop()));
    match answer.expect("it is told").expect("it is open").reply {
        Reply::Output { stream, text } => (stream, text),
        other => panic!("{other:?}"),
    }
}

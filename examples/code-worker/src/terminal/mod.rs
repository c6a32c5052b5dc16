//! The prompt: reads code, executes it, shows the results.
//!
//! Three threads: this one reads and waits for executions. The *pump* takes the worker's messages,
//! and shows output as it comes, also of tasks left behind. The *interjector* shows messages that
//! come while a line is edited, which may have to wait for the editor.

mod colours;
mod history;
mod reader;

use std::{
    error::Error,
    process::{self, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use anstream::{eprintln, println};
use code_worker::{
    CellError, Connection, Worker,
    protocol::{Answer, Message, Reply, Request, SessionInfo},
};
use fourway::{BlockOn, Timer};
use rustyline::ExternalPrinter;

use colours::{DIM, ERROR, VALUE};
use reader::{Line, Reader};

/// The session of the prompt.
const SESSION: &str = "main";

/// The time between two checks whether a script has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// The messages of the pump to the reading thread.
enum Event {
    Asks { request: u64, prompt: String },
    Ended(Reply),
}

/// Prompts until the end of the input.
pub(crate) fn run(worker: &Worker, keeps_history: bool) -> Result<ExitCode, Box<dyn Error>> {
    let connection = Arc::new(worker.connect());
    let mut reader = Reader::new(&connection, keeps_history)?;
    interrupt_on_ctrl_c(&connection, reader.is_terminal())?;
    let events = pump(&connection, reader.is_editing(), reader.printer());
    if reader.is_terminal() {
        println!(
            "{DIM}JavaScript, with `await` at top level. Ctrl-C interrupts, Ctrl-D ends.{DIM:#}"
        );
    }
    let mut failed = false;
    for id in 1.. {
        match reader.code() {
            Line::End => {
                if !reader.is_terminal() {
                    finish(id, &connection, &events);
                }
                break;
            }
            Line::Interrupted => {}
            Line::Text(code) if code.trim().is_empty() => {}
            Line::Text(code) => {
                let session = SESSION.to_owned();
                let request = Request::Execute { session, code };
                connection.handle(Message { id, request });
                failed |= !follow(&connection, &mut reader, &events);
            }
        }
    }
    // A script that failed in part has failed; at a prompt, the user has seen it.
    Ok(match failed && !reader.is_terminal() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Waits for timers and other work that a script has left behind, as other interpreters do, and for
/// its output. Ctrl-C ends the program meanwhile.
fn finish(id: u64, connection: &Connection, events: &Receiver<Event>) {
    connection.outbox().expect_no_answers();
    let rt = connection.worker().runtime();
    let is_busy =
        |session: &SessionInfo| session.running + session.waiting + session.left_behind > 0;
    while connection.status().iter().any(is_busy) {
        rt.block_on(rt.sleep(PAUSE));
    }
    // Its reply comes behind all output.
    let request = Request::Status;
    connection.handle(Message { id, request });
    while events
        .recv()
        .is_ok_and(|event| !matches!(event, Event::Ended(_)))
    {}
}

/// Waits for the end of the execution, and answers its questions. Has it a value?
fn follow(connection: &Connection, reader: &mut Reader, events: &Receiver<Event>) -> bool {
    // The pump lives as long as the connection.
    for event in events {
        match event {
            Event::Asks { request, prompt } => match reader.answer(&prompt) {
                Line::Text(text) => {
                    // It may have been interrupted meanwhile; then no question waits for the
                    // answer.
                    let _ = connection.outbox().answer(request, text);
                }
                Line::Interrupted | Line::End => connection.interrupt(SESSION, false),
            },
            Event::Ended(Reply::Result { value, .. }) => {
                if let Some(value) = value {
                    println!("{VALUE}{value}{VALUE:#}");
                }
                return true;
            }
            Event::Ended(Reply::Error(error)) => {
                if error.name == "Interrupted" && reader.is_terminal() {
                    // The terminal has shown `^C`, and the cursor is after it.
                    eprintln!();
                }
                show(&error);
                return false;
            }
            Event::Ended(other) => {
                eprintln!("{ERROR}{other:?}{ERROR:#}");
                return false;
            }
        }
    }
    false
}

fn show(error: &CellError) {
    eprintln!("{ERROR}{error}{ERROR:#}");
    // The place of an error that the code itself has thrown is in its stack.
    if let (Some(stack), None) = (&error.stack, &error.caret) {
        eprintln!("{DIM}{}{DIM:#}", stack.trim_end());
    }
}

fn pump(
    connection: &Connection,
    editing: Arc<AtomicBool>,
    printer: Option<impl ExternalPrinter + Send + 'static>,
) -> Receiver<Event> {
    let (events, received) = channel();
    let (outbox, rt) = (
        connection.outbox().clone(),
        connection.worker().runtime().clone(),
    );
    let interjector = printer.map(interject);
    thread::spawn(move || {
        while let Some(answer) = rt.block_on(outbox.pop()) {
            if !take(answer, &events, &editing, interjector.as_ref()) {
                break;
            }
        }
    });
    received
}

/// Shows a message, or hands it on. `false` if the receiver is gone.
fn take(
    answer: Answer,
    events: &Sender<Event>,
    editing: &AtomicBool,
    interjector: Option<&SyncSender<String>>,
) -> bool {
    match answer.reply {
        Reply::Output { stream, text } => {
            // A hint only: if the line ends at this moment, the text comes before the next line.
            let shown = editing.load(Ordering::Relaxed)
                && interjector.is_some_and(|to| to.try_send(text.clone()).is_ok());
            if !shown {
                match stream.as_str() {
                    "err" => anstream::eprint!("{text}"),
                    _ => anstream::print!("{text}"),
                }
            }
            true
        }
        Reply::InputRequest { request, prompt } => {
            events.send(Event::Asks { request, prompt }).is_ok()
        }
        reply => events.send(Event::Ended(reply)).is_ok(),
    }
}

/// Not on the pump's thread: the editor takes a text only while it edits. A sender whose text comes
/// just as a line ends would wait for the next line, and so delay the end of the execution.
fn interject(mut printer: impl ExternalPrinter + Send + 'static) -> SyncSender<String> {
    let (texts, received) = sync_channel::<String>(64);
    thread::spawn(move || {
        for text in received {
            if printer.print(text).is_err() {
                break;
            }
        }
    });
    texts
}

/// While a line is edited, the terminal gives Ctrl-C to the editor, and not here.
fn interrupt_on_ctrl_c(connection: &Arc<Connection>, at_prompt: bool) -> Result<(), ctrlc::Error> {
    let connection = Arc::downgrade(connection);
    ctrlc::set_handler(move || {
        let Some(connection) = connection.upgrade() else {
            return;
        };
        let busy = connection
            .status()
            .iter()
            .any(|session| session.running + session.waiting > 0);
        // At a prompt no code runs if it has ended at this moment; ending the program would lose
        // the session. Ctrl-D ends it.
        if !busy && !at_prompt {
            // As a shell reports a program that SIGINT has ended.
            process::exit(130);
        }
        connection.interrupt(SESSION, true);
    })
}

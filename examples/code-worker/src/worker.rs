//! The interface for clients: [`Worker`], and a [`Connection`] for each client.

use std::{
    future::Future,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use fourway::{
    AnyRuntime, Offload, Spawner, Timer,
    execute::{Execution, ExecutionError, Executor, Model, Overrun, Session},
};

use crate::{
    detect::{Completeness, Kind, Parser},
    engine::{Cell, Engine, EngineSession, Mode, Outcome, stopped},
    error::CellError,
    host::{Functions, Host},
    limits::Limits,
    outbox::Outbox,
    protocol::{self, Line, Message, Reply, Request, SessionInfo},
    requests::{Open, Requests},
    sessions::{Inserted, Opened, Sessions},
};

/// A client that has lost this many sessions gets no more: each may keep a thread for ever.
const LOST: usize = 4;

/// Runs code for many clients. A clone is the same worker.
#[derive(Clone, Debug)]
pub struct Worker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    executor: Executor<AnyRuntime>,
    limits: Limits,
    functions: Functions,
    parser: Parser,
    sessions: AtomicUsize,
    lost: AtomicUsize,
}

impl Worker {
    /// A worker with the standard functions. Code that keeps an executor's thread beyond
    /// [`Limits::budget`] is told on the standard error.
    #[must_use]
    pub fn new(rt: AnyRuntime, model: Model, limits: Limits) -> Self {
        let executor = Executor::builder(rt)
            .model(model)
            .budget(limits.budget)
            .on_overrun(tell)
            .build();
        Self::with_functions(executor, limits, Functions::standard())
    }

    /// A worker with these functions. The executor has its own budget and report of overruns.
    #[must_use]
    pub fn with_functions(
        executor: Executor<AnyRuntime>,
        limits: Limits,
        functions: Functions,
    ) -> Self {
        Self(Arc::new(Shared {
            executor,
            limits,
            functions,
            parser: Parser::default(),
            sessions: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }))
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &AnyRuntime {
        self.0.executor.runtime()
    }

    /// The limits of its sessions and clients.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The parser, which runs nothing.
    #[must_use]
    pub fn parser(&self) -> &Parser {
        &self.0.parser
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.sessions.load(Ordering::SeqCst)
    }

    /// How many sessions are lost: their code did not end when it was asked to, and still has its
    /// thread.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.0.lost.load(Ordering::SeqCst)
    }

    /// How many executions, completions and inspections have ended that kept an executor's thread
    /// beyond its budget. In the models other than [`Model::Async`] code has threads of its own.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.0.executor.overruns()
    }

    /// A client.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection {
            worker: self.clone(),
            outbox: Outbox::default(),
            sessions: Arc::default(),
            requests: Requests::default(),
            over: AtomicBool::new(false),
        }
    }

    fn open(&self) -> Result<EngineSession, CellError> {
        let limits = self.0.limits;
        let refused = |message: String| CellError::new("Refused", message);
        // Counted before it exists, so that no two share the last place.
        if self.0.sessions.fetch_add(1, Ordering::SeqCst) >= limits.sessions {
            self.0.sessions.fetch_sub(1, Ordering::SeqCst);
            return Err(refused(format!(
                "there are {} sessions already",
                limits.sessions
            )));
        }
        let engine = Engine::new(limits, self.0.functions.clone()).map_err(|error| {
            self.0.sessions.fetch_sub(1, Ordering::SeqCst);
            refused(format!("no engine: {error}"))
        })?;
        Ok(Session::builder(self.0.executor.clone())
            .deadline(limits.time)
            .build(engine))
    }

    /// Ends a session. A task drops its engine once its code has ended, not the caller's thread.
    fn close(&self, session: EngineSession) {
        let closing = session.close();
        let worker = self.clone();
        self.runtime().spawn_detached(async move {
            let engine = closing.await;
            drop(session);
            drop(engine);
            worker.0.sessions.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// The result of an execution; `None` if it was asked to end, and did not.
    async fn end<T: Send + 'static>(
        &self,
        mut execution: Execution<AnyRuntime, T>,
    ) -> Option<Result<T, ExecutionError>> {
        let token = execution.token().clone();
        match token.run_until_cancelled(&mut execution).await {
            Ok(outcome) => Some(outcome),
            Err(_) => {
                let grace = self.0.limits.grace;
                self.runtime().timeout(grace, execution).await.ok()
            }
        }
    }

    /// The result of an execution. A session whose execution was asked to end, and did not, is given
    /// up.
    async fn end_or_lose<T: Send + 'static>(
        &self,
        execution: Execution<AnyRuntime, T>,
        sessions: &Sessions,
        name: &str,
        number: u64,
    ) -> Result<T, CellError> {
        if let Some(outcome) = self.end(execution).await {
            return outcome.map_err(explain);
        }
        // Not if it has been ended meanwhile.
        if let Some(lost) = sessions.lose(name, number) {
            self.give_up(lost);
        }
        let message = "the code did not end when it was asked to, and the session is lost; the \
                       name is free for a new one";
        Err(CellError::new("Lost", message))
    }

    /// Ends a session whose engine is stuck: it keeps its place until its code ends after all.
    fn give_up(&self, session: EngineSession) {
        self.0.lost.fetch_add(1, Ordering::SeqCst);
        let closing = session.close();
        let worker = self.clone();
        self.runtime().spawn_detached(async move {
            drop(closing.await);
            drop(session);
            worker.0.lost.fetch_sub(1, Ordering::SeqCst);
            worker.0.sessions.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A client's sessions and its outbox. Dropping it ends them.
#[derive(Debug)]
pub struct Connection {
    worker: Worker,
    outbox: Outbox,
    sessions: Arc<Sessions>,
    requests: Requests,
    over: AtomicBool,
}

impl Connection {
    /// The messages to the client.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Waits until no request is open: each has its final reply. For one waiter at a time.
    pub(crate) fn idle(&self) -> impl Future<Output = ()> + Send + use<> {
        self.requests.idle()
    }

    /// Has the client asked for the end?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn find_or_open(&self, name: &str) -> Result<Opened, CellError> {
        if let Some(session) = self.sessions.find(name) {
            return Ok(session);
        }
        if self.sessions.lost() >= LOST {
            let message = format!("{LOST} sessions of this client are lost; it gets no more");
            return Err(CellError::new("Refused", message));
        }
        let most = self.worker.limits().client_sessions;
        if self.sessions.count() >= most {
            let message = format!("this client has {most} sessions already");
            return Err(CellError::new("Refused", message));
        }
        // Without the lock, as it takes a while; a client that asks for several at once may get
        // some more than its limit.
        match self.sessions.insert(name, self.worker.open()?) {
            Inserted::New(session) => Ok(session),
            Inserted::Found(session, unused) => {
                self.worker.close(unused);
                Ok(session)
            }
            Inserted::Closed(unused) => {
                self.worker.close(unused);
                Err(ending())
            }
        }
    }

    fn host(&self, id: u64) -> Host {
        Host {
            rt: self.worker.runtime().clone(),
            outbox: self.outbox.clone(),
            id,
        }
    }

    /// Takes a line of the protocol, as [`handle`](Self::handle). Replies come through the outbox.
    pub fn take(&self, line: &Line) {
        match line {
            Line::TooLong => self.outbox.push(
                None,
                Reply::Bad {
                    message: format!("a line has at most {} bytes", protocol::LONGEST_LINE),
                },
            ),
            Line::Whole(line) => match protocol::parse(line) {
                Ok(message) => self.handle(message),
                Err(answer) => self.outbox.push(answer.id, answer.reply),
            },
        }
    }

    /// Performs a client's request. Replies come through the outbox, and it does not wait for them.
    ///
    /// It may parse on the calling thread, for up to five seconds if the code is made to be hard:
    /// `is_complete`, and `execute` with the word `await` in the code. Opening a session takes a
    /// while, too. So it is not for a thread that must not block, and the client's later requests wait
    /// meanwhile.
    pub fn handle(&self, message: Message) {
        let id = message.id;
        let reply = |reply| self.outbox.push(Some(id), reply);
        let name = message.request.session();
        if name.is_some_and(|name| name.len() > protocol::LONGEST_NAME) {
            return reply(Reply::Bad {
                message: format!(
                    "a session's name has at most {} bytes",
                    protocol::LONGEST_NAME
                ),
            });
        }
        // Counted first: who sees that it is over, and that no request is open, has seen the replies
        // of all that came before the end.
        let open = self.requests.open(&message.request, self.worker.limits());
        if self.is_over() {
            return reply(Reply::Error(ending()));
        }
        // It is dropped after the reply.
        let open = match open {
            Ok(open) => open,
            Err(error) => return reply(Reply::Error(error)),
        };
        match message.request {
            Request::Hello { version } => reply(match version {
                0 => Reply::Bad {
                    message: "versions begin with 1".to_owned(),
                },
                _ => Reply::Hello {
                    version: protocol::VERSION,
                    worker: format!("code-worker {}", env!("CARGO_PKG_VERSION")),
                },
            }),
            Request::Execute { session, code } => {
                self.later(
                    open,
                    id,
                    self.execute(&session, &code, id),
                    |(kind, outcome)| match outcome {
                        Ok(value) => Reply::Result { kind, value },
                        Err(error) => Reply::Error(error),
                    },
                );
            }
            Request::Input { request, value } => reply(match self.outbox.answer(request, value) {
                true => Reply::Ok,
                false => Reply::Bad {
                    message: format!("nobody waits for input {request}"),
                },
            }),
            Request::Interrupt { session, all } => {
                self.interrupt(&session, all);
                reply(Reply::Ok);
            }
            Request::IsComplete { code } => {
                let status = match self.worker.parser().completeness(&code) {
                    Completeness::Complete => "complete",
                    Completeness::Incomplete => "incomplete",
                    Completeness::Invalid => "invalid",
                };
                reply(Reply::Completeness {
                    status: status.to_owned(),
                });
            }
            Request::Complete { session, code } => {
                self.later(
                    open,
                    id,
                    self.complete(&session, code, id),
                    |(start, matches)| Reply::Matches { start, matches },
                );
            }
            Request::Inspect { session, name } => {
                self.later(
                    open,
                    id,
                    self.inspect(&session, name, id),
                    |result| match result {
                        Ok(text) => Reply::Inspected { text },
                        Err(error) => Reply::Error(error),
                    },
                );
            }
            Request::Status => reply(Reply::Status {
                sessions: self.status(),
                overruns: self.worker.overruns(),
            }),
            Request::Reset { session } => {
                self.reset(&session);
                reply(Reply::Ok);
            }
            Request::Shutdown => {
                self.over.store(true, Ordering::SeqCst);
                self.close_sessions();
                reply(Reply::Ok);
            }
        }
    }

    fn later<F: Future<Output: Send> + Send + 'static>(
        &self,
        open: Open,
        id: u64,
        future: F,
        reply: impl FnOnce(F::Output) -> Reply + Send + 'static,
    ) {
        let outbox = self.outbox.clone();
        let rt = self.worker.runtime();
        rt.spawn_detached(async move {
            let output = future.await;
            outbox.push(Some(id), reply(output));
            drop(open);
        });
    }

    /// Runs code in a session, in the order of these calls. `id` goes with its output.
    ///
    /// The kind of the code is decided here, on the calling thread, at most by parsing.
    pub fn execute(
        &self,
        session: &str,
        code: &str,
        id: u64,
    ) -> impl Future<Output = (Kind, Outcome)> + Send + use<> {
        let started = self.start(session, code, id);
        let (name, sessions, worker) = self.place(session);
        // Wanted if it is wrong.
        let code = code.to_owned();
        async move {
            let Started {
                kind,
                session,
                execution,
            } = match started {
                Err(error) => return (Kind::Sync, Err(error)),
                Ok(started) => started,
            };
            let outcome = worker
                .end_or_lose(execution, &sessions, &name, session)
                .await;
            let outcome = outcome.and_then(|outcome| outcome);
            match outcome {
                Err(error) if error.name == "SyntaxError" => {
                    let (parser, plain) = (worker.clone(), error.clone());
                    let explained = worker
                        .runtime()
                        .offload(move || parser.parser().explain(&code, error));
                    // Without a thread for the better error, the client gets the engine's.
                    let error = explained.await.unwrap_or(plain);
                    (kind, Err(error))
                }
                outcome => (kind, outcome),
            }
        }
    }

    /// What it takes to lose a session.
    fn place(&self, session: &str) -> (String, Arc<Sessions>, Worker) {
        let name = session.to_owned();
        (name, self.sessions.clone(), self.worker.clone())
    }

    fn start(&self, session: &str, code: &str, id: u64) -> Result<Started, CellError> {
        let kind = self.worker.parser().detect(code)?;
        let Opened { number, session } = self.find_or_open(session)?;
        let cell = Cell {
            host: self.host(id),
            code: code.to_owned(),
        };
        let in_place = self.worker.0.executor.model() == Model::Async;
        let execution = match kind {
            Kind::Async => session.execute(move |turn| Engine::drive(turn, cell)),
            Kind::Sync if in_place => {
                session.execute_short(move |turn| Engine::run(turn, cell, Mode::InPlace))
            }
            Kind::Sync => session.execute(move |turn| Engine::run(turn, cell, Mode::Blocking)),
        };
        Ok(Started {
            kind,
            session: number,
            execution,
        })
    }

    /// Stops the running execution of a session; with `all` also those in line.
    pub fn interrupt(&self, session: &str, all: bool) {
        if let Some(Opened { session, .. }) = self.sessions.find(session) {
            if all {
                session.interrupt_all();
            } else {
                session.interrupt();
            }
        }
    }

    /// Completions of `text`: where the completed part begins, and the possibilities.
    pub fn complete(
        &self,
        session: &str,
        text: String,
        id: u64,
    ) -> impl Future<Output = (usize, Vec<String>)> + Send + use<> {
        let opened = self.find_or_open(session);
        let (name, sessions, worker) = self.place(session);
        let host = self.host(id);
        async move {
            let nothing = (text.len(), Vec::new());
            let Ok(Opened { number, session }) = opened else {
                return nothing;
            };
            let found =
                session.execute_short(move |mut turn| Engine::complete(&mut turn, host, &text));
            drop(session);
            let found = worker.end_or_lose(found, &sessions, &name, number).await;
            found.unwrap_or(nothing)
        }
    }

    /// The value of a name.
    ///
    /// # Errors
    ///
    /// If it is not a name, or getting its value fails.
    pub fn inspect(
        &self,
        session: &str,
        name: String,
        id: u64,
    ) -> impl Future<Output = Result<String, CellError>> + Send + use<> {
        let opened = self.find_or_open(session);
        let (place, sessions, worker) = self.place(session);
        let host = self.host(id);
        async move {
            let Opened { number, session } = opened?;
            let found =
                session.execute_short(move |mut turn| Engine::inspect(&mut turn, host, &name));
            drop(session);
            let found = worker.end_or_lose(found, &sessions, &place, number).await;
            found?
        }
    }

    /// The client's sessions, by name.
    #[must_use]
    pub fn status(&self) -> Vec<SessionInfo> {
        let mut all: Vec<SessionInfo> = self
            .sessions
            .all()
            .into_iter()
            .map(|(name, session)| {
                let status = session.status();
                SessionInfo {
                    name,
                    running: status.running.len(),
                    waiting: status.waiting.len(),
                    left_behind: session.left_behind().len(),
                }
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn close_sessions(&self) {
        for session in self.sessions.take() {
            self.worker.close(session);
        }
    }

    /// Ends a session. The next use of the name opens a fresh one.
    pub fn reset(&self, session: &str) {
        if let Some(ended) = self.sessions.remove(session) {
            self.worker.close(ended);
        }
    }
}

/// A running execution.
struct Started {
    kind: Kind,
    /// The number of the session.
    session: u64,
    execution: Execution<AnyRuntime, Outcome>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outbox.close();
        self.close_sessions();
    }
}

/// Tells the standard error that code keeps a thread.
///
/// Only what still runs, from the watching thread: what has ended is reported on the executor's thread,
/// which a standard error that nobody reads would block. It is counted.
fn tell(overrun: &Overrun) {
    if !overrun.ended {
        // At once: on a terminal, the output of the code would come between the pieces of a
        // `writeln!`. Not by `eprintln!`, which panics if the standard error is closed.
        let line = format!("code-worker: {overrun}\n");
        let _ = anstream::stderr().write_all(line.as_bytes());
    }
}

fn ending() -> CellError {
    CellError::new("Closed", "the client has asked for the end")
}

fn explain(error: ExecutionError) -> CellError {
    match error.reason() {
        Some(reason) if !error.is_closed() => stopped(reason),
        Some(_) => CellError::new("Closed", "the session was closed"),
        None => CellError::new("Worker", error.to_string()),
    }
}

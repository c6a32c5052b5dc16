//! EX: executing work of any kind, and sessions, on the runtime.

use std::{future::pending, sync::Arc};

use fourway_core::{AnyRuntime, Offload, Spawner};

use crate::{
    Case,
    cases::table,
    execute::{Access, BoxFuture, Doors, Model, Session, Stopped, Turn, Work},
    setup::Setup,
    util::{
        Answer, Counter, Gate, Gauge, OnDrop, ask, drive, eventually, must_not, never,
        panic_quietly,
    },
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "EX-1.1", "what may block runs where blocking is allowed, async work in async code",
        "IPython, ipykernel: one loop for both, and sync code stops it", kinds, extended;
        "EX-1.2", "closures that block hold up no task, however many",
        "a blocking call on an executor's thread", blocking_holds_up_nobody, extended;
        "EX-1.3", "in the model thread, async work that blocks holds up no task either",
        "time.sleep in a coroutine of a notebook", driven_on_threads, extended;
        "EX-1.4", "a short closure runs in place in the model async alone, and is reported if it is not",
        "what was fast on the author's machine", short_ones, extended;
        "EX-1.5", "executions of all kinds have their turns in the order in which they were asked for",
        "a queue for each kind: what was asked for later comes first", in_order, extended;
        "EX-1.6", "a turn lasts as long as whoever has it, also across awaits",
        "a lock that is released at the first await", alone, extended;
        "EX-1.7", "readers that follow each other have the namespace together; a writer waits for them",
        "readers that come one after the other keep a writer out for ever", readers, extended;
        "EX-1.8", "what waits in line keeps no thread",
        "a pool full of threads that wait for one lock", line_keeps_no_thread, extended;
        "EX-1.9", "one that is given up in line leaves its place",
        "the turn that went to nobody", given_up_in_line, extended;
        "EX-1.10", "async work that is given up in its turn passes it on, after its destructors",
        "the next one begins beside a destructor", given_up_in_its_turn, extended;
        "EX-1.11", "a panic reaches its handle alone; the next one has the namespace as it is",
        "std's Mutex: poisoned, and the session is over", panics, extended;
        "EX-1.12", "an interruption ends async work, and blocking work sees it",
        "KeyboardInterrupt reaches the main thread only", interrupted, extended;
    ]
}

/// In each model.
fn in_each<S: Setup>(s: S, run: impl Fn(&Here)) {
    for model in Model::ALL {
        run(&Here {
            rt: AnyRuntime::new(s.build()),
            doors: s.doors(),
            model,
        });
    }
}

struct Here {
    rt: AnyRuntime,
    doors: &'static dyn Doors,
    model: Model,
}

impl Here {
    fn execute(&self, work: Work) -> BoxFuture<Result<u32, Stopped>> {
        self.doors
            .execute(&self.rt, self.model, Arc::new(|_| {}), work)
    }

    fn session(&self) -> Arc<dyn Session> {
        self.doors.session(&self.rt, self.model)
    }
}

type Given = Box<dyn Turn>;

fn write(session: &Arc<dyn Session>, work: Work<Given>) -> BoxFuture<Result<u32, Stopped>> {
    session.execute(Access::Write, work)
}

fn read(session: &Arc<dyn Session>, work: Work<Given>) -> BoxFuture<Result<u32, Stopped>> {
    session.execute(Access::Read, work)
}

/// All numbers, as the next execution sees them.
fn numbers(session: &Arc<dyn Session>) -> Vec<u32> {
    let (seen, sees) = std::sync::mpsc::channel();
    let all = Work::blocking(move |turn: Given| {
        seen.send(turn.numbers().to_vec()).expect("somebody waits");
        0
    });
    drive(write(session, all)).expect("nobody stops it");
    sees.recv().expect("it was sent")
}

/// 1 where a thread may block, 0 in async code.
fn may_block(rt: &AnyRuntime) -> u32 {
    match ask(rt) {
        Answer::Ran => 1,
        Answer::Refused => 0,
        Answer::Wrong(answer) => panic!("{answer}"),
    }
}

fn kinds<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let (a, b, c, d) = (
            here.rt.clone(),
            here.rt.clone(),
            here.rt.clone(),
            here.rt.clone(),
        );
        let model = here.model;
        let closure = here.execute(Work::blocking(move |()| may_block(&a)));
        assert_eq!(drive(closure), Ok(1), "a closure, in {model}");
        let future = here.execute(Work::asynchronous(move |()| async move { may_block(&b) }));
        assert_eq!(drive(future), Ok(0), "async work, in {model}");
        let closure = write(&session, Work::blocking(move |_| may_block(&c)));
        assert_eq!(drive(closure), Ok(1), "a session's closure, in {model}");
        let future = Work::asynchronous(move |_: Given| async move { may_block(&d) });
        let future = write(&session, future);
        assert_eq!(drive(future), Ok(0), "a session's async work, in {model}");
    });
}

/// More than there are threads for tasks.
const MANY: usize = 8;

fn blocking_holds_up_nobody<S: Setup>(s: S) {
    in_each(s, |here| {
        holds_up_nobody(here, |gate| {
            Work::blocking(move |()| {
                gate.wait();
                1
            })
        });
    });
}

fn driven_on_threads<S: Setup>(s: S) {
    in_each(s, |here| {
        if here.model == Model::Thread {
            holds_up_nobody(here, |gate| {
                Work::asynchronous(|()| async move {
                    gate.wait();
                    1
                })
            });
        }
    });
}

fn holds_up_nobody(here: &Here, work: impl Fn(Gate) -> Work) {
    let gate = Gate::new();
    let all: Vec<_> = (0..MANY)
        .map(|_| here.execute(work(gate.clone())))
        .collect();
    let (ran, runs) = Gate::pair();
    here.rt.spawn_detached(async move { ran.open() });
    eventually("a task runs beside work that blocks", || runs.is_open());
    gate.open();
    for one in all {
        assert_eq!(drive(one), Ok(1));
    }
}

fn short_ones<S: Setup>(s: S) {
    in_each(s, |here| {
        let rt = here.rt.clone();
        let place = here.execute(Work::short(move |()| may_block(&rt)));
        let in_place = here.model == Model::Async;
        let model = here.model;
        assert_eq!(drive(place), Ok(u32::from(!in_place)), "in {model}");
        let (running, ended) = (Counter::new(), Counter::new());
        let told = {
            let (running, ended) = (running.clone(), ended.clone());
            Arc::new(move |end| {
                if end { &ended } else { &running }.add();
            })
        };
        let seen = running.clone();
        let long = Work::short(move |()| {
            // On a thread that may block, this is allowed.
            if in_place {
                eventually(
                    "a closure that is not short is reported while it runs",
                    || seen.get() == 1,
                );
            }
            1
        });
        assert_eq!(
            drive(here.doors.execute(&here.rt, model, told, long)),
            Ok(1)
        );
        let expected = usize::from(in_place);
        eventually("it is reported when it has ended", || {
            ended.get() == expected
        });
        assert_eq!(running.get(), expected, "in {model}");
    });
}

fn in_order<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let all: Vec<_> = (0..60)
            .map(|number| {
                let push = move |mut turn: Given| {
                    turn.push(number);
                    number
                };
                write(
                    &session,
                    match number % 3 {
                        0 => Work::blocking(push),
                        1 => Work::short(push),
                        _ => Work::asynchronous(move |turn| async move {
                            fourway_core::yield_now().await;
                            push(turn)
                        }),
                    },
                )
            })
            .collect();
        for (number, one) in (0..).zip(all) {
            assert_eq!(drive(one), Ok(number));
        }
        assert_eq!(numbers(&session), (0..60).collect::<Vec<_>>());
    });
}

fn alone<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let gauge = Gauge::default();
        let (go, gate) = Gate::pair();
        let asynchronous = || {
            let (gauge, gate) = (gauge.clone(), gate.clone());
            Work::asynchronous(move |turn: Given| async move {
                let inside = gauge.enter();
                gate.opened().await;
                drop(inside);
                drop(turn);
                0
            })
        };
        let blocking = || {
            let gauge = gauge.clone();
            Work::blocking(move |turn: Given| {
                let inside = gauge.enter();
                drop(inside);
                drop(turn);
                0
            })
        };
        let all = [
            write(&session, asynchronous()),
            write(&session, blocking()),
            write(&session, asynchronous()),
            read(&session, blocking()),
        ];
        eventually("the first one has its turn", || gauge.now() > 0);
        never("one begins beside another", || gauge.most() > 1);
        go.open();
        for one in all {
            drive(one).expect("nobody stops it");
        }
        assert_eq!(gauge.most(), 1, "executions at a time, in {}", here.model);
    });
}

fn readers<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let (met, meet, go) = (Counter::new(), Gate::new(), Gate::new());
        let all_met = meet.clone();
        // Each waits until all three are there.
        let reader = || {
            let (met, meet, go) = (met.clone(), meet.clone(), go.clone());
            let reads = Work::asynchronous(move |turn: Given| async move {
                if met.add() == 3 {
                    meet.open();
                }
                go.opened().await;
                length(&turn)
            });
            read(&session, reads)
        };
        let first = [reader(), reader(), reader()];
        let writes = |mut turn: Given| {
            turn.push(7);
            0
        };
        let writer = write(&session, Work::blocking(writes));
        // Behind the writer, so it sees the writer's changes.
        let (passed, passes) = Gate::pair();
        let reads = Work::asynchronous(move |turn: Given| async move {
            passed.open();
            length(&turn)
        });
        let last = read(&session, reads);
        eventually("three readers have the namespace", || all_met.is_open());
        never("a reader overtakes a writer", || passes.is_open());
        go.open();
        for one in first {
            assert_eq!(drive(one), Ok(0), "readers, before the writer");
        }
        assert_eq!(drive(writer), Ok(0));
        assert_eq!(drive(last), Ok(1), "a reader, behind the writer");
    });
}

fn length(turn: &Given) -> u32 {
    u32::try_from(turn.numbers().len()).expect("a few")
}

fn line_keeps_no_thread<S: Setup>(s: S) {
    for model in Model::ALL {
        let here = Here {
            rt: AnyRuntime::new(s.build_with(|config| config.offload_limit = 2)),
            doors: s.doors(),
            model,
        };
        let session = here.session();
        let (go, gate) = Gate::pair();
        let first = write(
            &session,
            Work::asynchronous(move |turn: Given| async move {
                gate.opened().await;
                drop(turn);
                0
            }),
        );
        let line: Vec<_> = (0..MANY)
            .map(|_| write(&session, Work::blocking(|_| 1)))
            .collect();
        let (ran, runs) = Gate::pair();
        fourway_core::Task::detach(here.rt.offload(move || ran.open()));
        eventually("a closure runs beside a line", || runs.is_open());
        go.open();
        assert_eq!(drive(first), Ok(0));
        for one in line {
            assert_eq!(drive(one), Ok(1));
        }
    }
}

fn given_up_in_line<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let (go, gate) = Gate::pair();
        let first = write(
            &session,
            Work::asynchronous(move |turn: Given| async move {
                gate.opened().await;
                drop(turn);
                0
            }),
        );
        let ran = Counter::new();
        let runs = |ran: &Counter| {
            let ran = ran.clone();
            move |_| {
                ran.add();
                1
            }
        };
        let given_up = [
            write(&session, Work::blocking(runs(&ran))),
            write(&session, Work::short(runs(&ran))),
        ];
        let last = write(&session, Work::blocking(runs(&ran)));
        drop(given_up);
        go.open();
        assert_eq!(drive(first), Ok(0));
        assert_eq!(drive(last), Ok(1), "in {}", here.model);
        assert_eq!(ran.get(), 1, "given up, and run, in {}", here.model);
    });
}

fn given_up_in_its_turn<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let (began, begun) = Gate::pair();
        let dropped = Counter::new();
        let (next_began, next_begins) = Gate::pair();
        let on_drop = {
            let dropped = dropped.clone();
            OnDrop(move || {
                // Long enough for the next one to begin, if it does not wait for this.
                next_begins.wait_for(must_not());
                dropped.add();
            })
        };
        let endless = write(
            &session,
            Work::asynchronous(move |turn: Given| async move {
                // Dropped before the turn.
                let _turn = turn;
                let _on_drop = on_drop;
                began.open();
                pending().await
            }),
        );
        begun.wait();
        let next = write(
            &session,
            Work::blocking(move |_| {
                next_began.open();
                u32::try_from(dropped.get()).expect("one")
            }),
        );
        drop(endless);
        assert_eq!(
            drive(next),
            Ok(1),
            "destructors before the turn, in {}",
            here.model
        );
    });
}

fn panics<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let asynchronous = Work::asynchronous(|mut turn: Given| async move {
            turn.push(1);
            panic_quietly("async")
        });
        let blocking = Work::blocking(|mut turn: Given| {
            turn.push(2);
            panic_quietly("blocking")
        });
        let all = [write(&session, asynchronous), write(&session, blocking)];
        for one in all {
            assert_eq!(drive(one), Err(Stopped::Panicked), "in {}", here.model);
        }
        assert_eq!(numbers(&session), [1, 2], "in {}", here.model);
        let alone = here.execute(Work::blocking(|()| panic_quietly("alone")));
        assert_eq!(drive(alone), Err(Stopped::Panicked));
    });
}

fn interrupted<S: Setup>(s: S) {
    in_each(s, |here| {
        let session = here.session();
        let model = here.model;
        let (began, begun) = Gate::pair();
        let endless = write(
            &session,
            Work::asynchronous(move |turn: Given| async move {
                let _turn = turn;
                began.open();
                pending().await
            }),
        );
        begun.wait();
        session.interrupt();
        assert_eq!(drive(endless), Err(Stopped::Interrupted), "in {model}");
        let (began, begun) = Gate::pair();
        let blocks = write(
            &session,
            Work::blocking(move |turn: Given| {
                let token = turn.token();
                began.open();
                eventually("blocking work sees the interruption", || {
                    token.is_cancelled()
                });
                9
            }),
        );
        begun.wait();
        session.interrupt();
        // Its own result counts.
        assert_eq!(drive(blocks), Ok(9), "in {model}");
        assert_eq!(numbers(&session), [] as [u32; 0]);
    });
}

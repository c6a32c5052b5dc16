//! BL-6, block_in_place.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use fourway_core::{
    BlockOn, Offload, Runtime, Spawner, Timer,
    context::{self, Context},
    yield_now,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Answer, Counter, Gate, ask, eventually, other_runtime, panic_quietly},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "BL-6.1", "in a task, block_in_place keeps the other tasks going, or is unsupported",
        "libsql 2032: block_in_place that panics by flavour", in_place_others_go_on;
        "BL-6.2", "more tasks in block_in_place than workers leave the others going",
        "one stand-in is not enough", in_place_many;
        "BL-6.3", "block_in_place gives the closure's value or its panic",
        "a stand-in must be sent home on both ways out", in_place_outcome;
        "BL-6.4", "on a plain thread and in a closure it is a plain call",
        "a library cannot know where it is called", in_place_plain;
        "BL-6.5", "in another runtime's task block_in_place is refused",
        "this runtime cannot move the other one's tasks away", in_place_foreign;
        "BL-6.6", "block_in_place may be nested",
        "libraries call libraries", in_place_nested;
        "BL-6.7", "in the root future of block_on it runs the closure or is unsupported",
        "an error must mean that nothing was done", in_place_root;
    ]
}

fn in_place_others_go_on<S: Setup>(s: S) {
    let rt = s.build();
    let (go, gate) = Gate::pair();
    let (inside, entered) = Gate::pair();
    let ran = Counter::new();
    let (inner, count) = (rt.clone(), ran.clone());
    let task = rt.spawn(async move {
        let result = inner.block_in_place(|| {
            count.add();
            inside.open();
            // Only another task opens it.
            gate.wait();
            5
        });
        (result, context::current())
    });
    if !s.capabilities().block_in_place {
        let (result, after) = rt.block_on(task).unwrap();
        assert!(result.unwrap_err().is_unsupported());
        assert_eq!((ran.get(), after), (0, Context::Async));
        return;
    }
    entered.wait();
    let inner = rt.clone();
    let others = rt.spawn(async move {
        for _ in 0..10 {
            inner.spawn(yield_now()).await.unwrap();
        }
        inner.sleep(Duration::from_millis(1)).await;
        go.open();
    });
    rt.block_on(others).unwrap();
    assert_eq!(rt.block_on(task).unwrap(), (Ok(5), Context::Async));
}

fn in_place_many<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 2);
    let (go, gate) = Gate::pair();
    let entered = Counter::new();
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (inner, gate, entered) = (rt.clone(), gate.clone(), entered.clone());
            rt.spawn(async move {
                inner.block_in_place(|| {
                    entered.add();
                    gate.wait();
                })
            })
        })
        .collect();
    let supported = s.capabilities().block_in_place;
    if supported {
        eventually("all are inside at a time", || entered.get() == 5);
    }
    rt.block_on(rt.spawn(async move { go.open() })).unwrap();
    for task in tasks {
        match rt.block_on(task).unwrap() {
            Ok(()) => assert!(supported),
            Err(error) => assert!(!supported && error.is_unsupported()),
        }
    }
    // And the workers still work afterwards.
    let tasks: Vec<_> = (0..20).map(|n| rt.spawn(async move { n })).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(rt.block_on(task).unwrap(), n);
    }
}

fn in_place_outcome<S: Setup>(s: S) {
    let rt = s.build();
    let value = rt.block_in_place(|| String::from("value"));
    assert_eq!(value.as_deref(), Ok("value"));
    if !s.capabilities().block_in_place {
        return;
    }
    for n in 0..20 {
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                inner.block_in_place(|| panic_quietly("in place"))
            }));
            assert!(caught.is_err());
            assert_eq!(context::current(), Context::Async);
            yield_now().await;
            inner.block_in_place(move || n)
        });
        assert_eq!(rt.block_on(task).unwrap(), Ok(n));
        let inner = rt.clone();
        let task = rt.spawn(async move {
            let _ = inner.block_in_place(|| panic_quietly("in place"));
        });
        let error = rt.block_on(task).unwrap_err();
        assert_eq!(error.panic_message(), Some("in place"));
    }
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

fn in_place_plain<S: Setup>(s: S) {
    fn here<R: Runtime>(rt: &R) {
        let here = thread::current().id();
        let same = rt.block_in_place(|| thread::current().id() == here);
        assert_eq!(same, Ok(true));
        assert_eq!(rt.block_in_place(|| ask(rt)), Ok(Answer::Ran));
    }
    let rt = s.build();
    here(&rt);
    let inner = rt.clone();
    rt.block_on(rt.offload(move || here(&inner))).unwrap();
    let (other, inner) = (other_runtime(), rt.clone());
    other.block_on(other.offload(move || here(&inner))).unwrap();
}

fn in_place_foreign<S: Setup>(s: S) {
    let (rt, other) = (s.build(), other_runtime());
    let ran = Counter::new();
    let (inner, count) = (rt.clone(), ran.clone());
    let task = other.spawn(async move { inner.block_in_place(|| count.add()) });
    let result = other.block_on(task).unwrap();
    assert!(result.unwrap_err().is_unsupported());
    assert_eq!(ran.get(), 0);
}

fn in_place_nested<S: Setup>(s: S) {
    let rt = s.build();
    assert_eq!(rt.block_in_place(|| rt.block_in_place(|| 1)), Ok(Ok(1)));
    let inner = rt.clone();
    let task = rt.spawn(async move {
        inner.block_in_place(|| {
            inner.block_in_place(|| {
                let again = inner.clone();
                let task = inner.spawn(async move { again.block_in_place(|| ask(&again)) });
                inner.block_on(task).unwrap()
            })
        })
    });
    let result = rt.block_on(task).unwrap();
    if s.capabilities().block_in_place {
        assert_eq!(result, Ok(Ok(Ok(Answer::Ran))));
    } else {
        assert!(result.unwrap_err().is_unsupported());
    }
}

fn in_place_root<S: Setup>(s: S) {
    let rt = s.build();
    let ran = Cell::new(false);
    let (result, after) = rt.block_on(async {
        let result = rt.block_in_place(|| {
            ran.set(true);
            ask(&rt)
        });
        yield_now().await;
        (result, ask(&rt))
    });
    match result {
        Ok(answer) => assert_eq!((answer, ran.get()), (Answer::Ran, true)),
        Err(error) => assert!(error.is_unsupported() && !ran.get()),
    }
    assert_eq!(after, Answer::Refused);
}

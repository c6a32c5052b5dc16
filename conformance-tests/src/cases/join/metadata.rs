//! JO-6, a handle says which task.

use std::future::pending;

use fourway_core::{
    BlockOn, JoinError, JoinErrorKind, Offload, Shutdown, Spawner, Task, task::Metadata,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{drive, must, panic_quietly},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "JO-6.1", "a task's handle tells the line that spawned it",
        "console and logs are of no use if all tasks come from one line", line_of_task;
        "JO-6.2", "a closure's handle tells the line that offloaded it",
        "each way to start work has a path of its own", line_of_closure;
        "JO-6.3", "a name is kept, numbers are different, and go the whole way down",
        "a wrapper makes work of its own from what it is given", name_and_number;
        "JO-6.4", "an error tells which task it is about, however that ended",
        "`the task panicked` of a thousand", errors;
        "JO-6.5", "a shutdown's error tells which task it is about",
        "refused work has a handle as any other", refused, needs [Shutdown];
    ]
}

/// Is the handle's work said to have been started here?
fn assert_from<T>(task: &impl Task<T>, line: u32) {
    let metadata = task.metadata().expect("a handle knows its work");
    let location = metadata.location();
    assert_eq!((location.file(), location.line()), (file!(), line));
    assert_eq!((metadata.name(), metadata.id()), (None, None));
}

fn line_of_task<S: Setup>(s: S) {
    let rt = s.build();
    let (line, task) = (line!(), rt.spawn(async {}));
    assert_from(&task, line);
    drive(task).unwrap();
    let (line, task) = (line!(), Spawner::spawn(&&rt, pending::<()>()));
    assert_from(&task, line);
    let boxed: Box<dyn Task<()>> = Box::new(task);
    assert_from(&boxed, line);
}

fn line_of_closure<S: Setup>(s: S) {
    let rt = s.build();
    let (line, task) = (line!(), rt.offload(|| ()));
    assert_from(&task, line);
    drive(task).unwrap();
    let (line, task) = (line!(), rt.try_offload(|| ()).unwrap());
    assert_from(&task, line);
}

fn name_and_number<S: Setup>(s: S) {
    fn check(metadata: Option<&Metadata>, name: &str, line: u32) -> u64 {
        let metadata = metadata.expect("a handle knows its work");
        assert_eq!(
            (metadata.name(), metadata.location().line()),
            (Some(name), line)
        );
        metadata.id().expect("a name comes with a number").get()
    }
    let rt = s.build();
    let (line, first) = (line!(), rt.spawn_named("first", async {}));
    let (next, second) = (line!(), rt.offload_named(String::from("second"), || ()));
    assert!(check(first.metadata(), "first", line) < check(second.metadata(), "second", next));
    let metadata = Metadata::caller().numbered();
    let id = metadata.id();
    let task = rt.spawn_with(metadata.clone(), async {});
    let closure = rt.offload_with(metadata, || ());
    assert_eq!(task.metadata().and_then(Metadata::id), id);
    assert_eq!(closure.metadata().and_then(Metadata::id), id);
}

/// Does the error name the task `name`?
fn assert_names(error: &JoinError, name: &str, kind: JoinErrorKind) {
    assert_eq!(error.kind(), kind);
    assert_eq!(error.name(), Some(name), "the error names the task");
    let (text, location) = (error.to_string(), error.location().expect("and its line"));
    assert!(text.contains(name), "{text}");
    assert!(
        text.contains(&format!("{}:{}", file!(), location.line())),
        "{text}"
    );
}

fn errors<S: Setup>(s: S) {
    let rt = s.build();
    let panics = rt.spawn_named("panics", async { panic_quietly("boom") });
    let error = drive(panics).unwrap_err();
    assert_names(&error, "panics", JoinErrorKind::Panic);
    let cancelled = rt.spawn_named("cancelled", pending::<()>());
    let error = rt.block_on(cancelled.cancel()).unwrap_err();
    assert_names(&error, "cancelled", JoinErrorKind::Cancelled);
    let panics = rt.offload_named("closure", || panic_quietly("boom"));
    let error = drive(panics).unwrap_err();
    assert_names(&error, "closure", JoinErrorKind::Panic);
    // A task without a name is identified by its line.
    let (line, task) = (line!(), rt.spawn(async { panic_quietly("boom") }));
    let error = drive(task).unwrap_err();
    let location = error.location().expect("the line of its spawn");
    assert_eq!((location.file(), location.line()), (file!(), line));
}

fn refused<S: Setup>(s: S) {
    let rt = s.build();
    let destroyed = rt.spawn_named("destroyed", pending::<()>());
    assert!(rt.shutdown(must()).unwrap().is_clean());
    assert_names(
        &drive(destroyed).unwrap_err(),
        "destroyed",
        JoinErrorKind::Shutdown,
    );
    let refused = rt.spawn_named("refused", async {});
    assert_names(
        &drive(refused).unwrap_err(),
        "refused",
        JoinErrorKind::Shutdown,
    );
    let refused = rt.offload_named("late", || ());
    assert_names(
        &drive(refused).unwrap_err(),
        "late",
        JoinErrorKind::Shutdown,
    );
}

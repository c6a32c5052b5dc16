//! Values that must be closed, and the reports of those that were not. One test: the hook is the
//! process's.

use std::{future::pending, sync::Mutex};

use fourway_core::{Runtime, yield_now};
use fourway_nursery::{
    Close, CloseGuard, Nursery, NurseryError, SyncNursery, Unclosed, set_unclosed_hook,
};
use fourway_testing::{Gate, each, run};

struct Connection(CloseGuard);

impl Connection {
    #[track_caller]
    fn open() -> Self {
        Self(CloseGuard::new("connection"))
    }
}

impl Close for Connection {
    type Output = u32;

    async fn close(self) -> u32 {
        yield_now().await;
        self.0.closed();
        7
    }
}

/// Makes one, and does not close it.
struct AtDrop;

impl AtDrop {
    const LINE: u32 = line!() + 5;
}

impl Drop for AtDrop {
    fn drop(&mut self) {
        drop(Connection::open());
    }
}

fn drop_it(it: AtDrop) -> Result<(), String> {
    drop(it);
    Ok(())
}

static REPORTS: Mutex<Vec<Unclosed>> = Mutex::new(Vec::new());

/// The lines of the reports since the last call: where it was made, and where the child was spawned.
fn reports() -> Vec<(u32, Option<u32>)> {
    let mut reports: Vec<_> = REPORTS.lock().unwrap().drain(..).collect();
    reports.sort_by_key(|report| report.made_at.line());
    let lines = reports.iter().map(|report| {
        assert_eq!(
            (report.what, report.made_at.file()),
            ("connection", file!())
        );
        (report.made_at.line(), report.spawned_at.map(|at| at.line()))
    });
    lines.collect()
}

#[test]
fn what_is_dropped_unclosed_is_reported_once_with_its_places() {
    set_unclosed_hook(|unclosed| REPORTS.lock().unwrap().push(*unclosed));
    each(|rt| {
        assert_eq!(run(&rt, Connection::open().close()), 7);
        assert_eq!(reports(), []);
        let line = line!() + 1;
        drop(Connection::open());
        assert_eq!(reports(), [(line, None)]);

        let line = line!();
        let ended: Result<(), NurseryError<String>> = run(&rt, async {
            let nursery = Nursery::builder(&rt);
            let body = nursery.run(async |n| {
                drop(Connection::open()); // + 4
                n.spawn(async {
                    yield_now().await;
                    drop(Connection::open()); // + 7
                    Ok(())
                });
                n.offload(|| {
                    drop(Connection::open()); // + 11
                    Ok(())
                });
                n.call(rt.call(async {
                    drop(Connection::open()); // + 15
                    Ok(())
                }));
                // It is the child that made it, whoever drops it.
                let made = n.spawn_handle(async { Ok(Connection::open()) }); // + 19
                drop(made.await);
                Ok(())
            });
            body.await
        });
        ended.unwrap();
        let at = |line: u32, spawned: u32| (line, Some(spawned));
        let wanted = [
            (line + 4, None),
            at(line + 7, line + 5),
            at(line + 11, line + 10),
            at(line + 15, line + 14),
            at(line + 19, line + 19),
        ];
        assert_eq!(reports(), wanted);

        let line = line!();
        let ended: Result<(), NurseryError<String>> = SyncNursery::builder(&rt).run(|n| {
            n.spawn(|| {
                drop(Connection::open()); // + 3
                Ok(())
            });
            Ok(())
        });
        ended.unwrap();
        assert_eq!(reports(), [at(line + 3, line + 2)]);

        let in_line = AtDrop::LINE;
        let line = line!();
        let ended: Result<(), NurseryError<String>> = run(&rt, async {
            let nursery = Nursery::builder(&rt).limit(1);
            let body = nursery.run(async |n| {
                let (begun, at_drop) = (Gate::default(), AtDrop);
                let is_there = begun.clone();
                n.spawn(async move {
                    let _at_drop = at_drop; // spawned at + 6
                    is_there.open();
                    pending::<Result<(), String>>().await
                });
                begun.pass().await;
                let at_drop = AtDrop;
                n.offload(move || drop_it(at_drop)); // + 13
                n.cancel();
                let at_drop = AtDrop;
                n.spawn(async move { drop_it(at_drop) }); // + 16
                Ok(())
            });
            body.await
        });
        ended.unwrap();
        let mut lines = reports();
        lines.sort();
        let wanted = [6, 13, 16].map(|spawned| at(in_line, line + spawned));
        assert_eq!(lines, wanted);

        let line = line!();
        let ended: Result<(), NurseryError<String>> = SyncNursery::builder(&rt).run(|n| {
            n.cancel();
            let at_drop = AtDrop;
            n.spawn(move || drop_it(at_drop)); // + 4
            Ok(())
        });
        ended.unwrap();
        assert_eq!(reports(), [at(in_line, line + 4)]);
    });
    let line = line!() + 1;
    drop(Connection::open());
    let report = REPORTS.lock().unwrap().pop().unwrap();
    let place = format!("{}:{line}:10", file!());
    assert_eq!(
        report.to_string(),
        format!(
            "connection, made at {place}, was dropped without being closed: await its `close()`"
        )
    );
    let mut spawned = report;
    spawned.spawned_at = Some(report.made_at);
    assert!(
        spawned
            .to_string()
            .contains(&format!("in a child spawned at {place}, was"))
    );
}

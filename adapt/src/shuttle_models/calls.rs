//! Several calls, polled by the one future that has them all and woken by other threads.

use super::{Count, Dropped, Event};
use crate::sync::{check, thread};
use crate::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_core::{Runtime, call::Call};

/// Nothing is spawned here.
#[derive(Clone)]
struct Nowhere;

impl Execute for Nowhere {
    fn execute(&self, _: BoxFuture) {}
}

/// A call that waits for `event`, and tells which it was.
fn waits(
    rt: &Adapter<Nowhere>,
    (nth, event): (usize, &Event),
    dropped: &Count,
) -> impl Call<Output = usize> + use<> {
    let (event, dropped) = (event.clone(), Dropped(dropped.clone()));
    rt.call(async move {
        event.await;
        drop(dropped);
        nth
    })
}

/// Each is woken once, and one of them also without a reason, while others are polled. No wake is
/// lost, and none goes to the call that comes after in the same place.
#[test]
fn shuttle_all_of_several_calls() {
    check(|| {
        let rt = Adapter::new(Nowhere);
        let events: [Event; 3] = Default::default();
        let dropped = Count::default();
        let calls = events.iter().enumerate();
        let calls = calls.map(|of| waits(&rt, of, &dropped));
        let all = rt.call_all(calls).at_most(2).into_future();
        let threads: Vec<_> = events
            .iter()
            .cloned()
            .enumerate()
            .map(|(nth, event)| {
                thread::spawn(move || {
                    if nth == 0 {
                        event.poke();
                    }
                    event.set();
                })
            })
            .collect();
        assert_eq!(adapt::block_on(all, None), Ok(vec![0, 1, 2]));
        assert_eq!(dropped.get(), 3);
        for thread in threads {
            thread.join().unwrap();
        }
        // The first poll, and one for each wake.
        let polls = events.map(|event| event.polls.get());
        assert!(polls[0] <= 3 && polls[1] <= 2 && polls[2] <= 2, "{polls:?}");
    });
}

/// The first one ends it, while the others are being woken.
#[test]
fn shuttle_race_of_several_calls() {
    check(|| {
        let rt = Adapter::new(Nowhere);
        let events: [Event; 3] = Default::default();
        let dropped = Count::default();
        let calls = events.iter().enumerate();
        let race = rt.call_race(calls.map(|of| waits(&rt, of, &dropped)));
        let race = race.into_future();
        let threads: Vec<_> = events
            .iter()
            .cloned()
            .map(|event| thread::spawn(move || event.set()))
            .collect();
        let won = adapt::block_on(race, None).unwrap();
        assert!(won.is_some_and(|nth| nth < 3));
        assert_eq!(dropped.get(), 3);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

//! How many items a consumer waits for, at which pace of the producer.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};

use crate::ahead::{Limit, Queue, Wait};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many items come before the consumer is woken, if each has taken the producer so long.
fn before_a_wake(limit: Limit, each: Option<Duration>) -> usize {
    let queue = Queue::new(limit);
    if let Some(each) = each {
        queue.took(each * 100, 100);
    }
    let count = Arc::<Count>::default();
    let waker = Waker::from(count.clone());
    let wait = Wait {
        waker: &waker,
        at_least: queue.worth_a_wake(),
    };
    assert!(!queue.take(&mut VecDeque::new(), Some(wait), false));
    for pushed in 1..=10_000 {
        queue.push(());
        if count.0.load(Ordering::Relaxed) > 0 {
            return pushed;
        }
    }
    panic!("it is never woken");
}

#[test]
fn a_consumer_is_woken_for_as_many_items_as_are_worth_it() {
    let default = Limit::new(2048, 8192);
    let paces = [
        // Not measured yet, and slow: for the next item.
        (None, 1),
        (Some(Duration::from_secs(60)), 1),
        (Some(Duration::from_micros(10)), 1),
        // Half of a millisecond, at most half of the queue.
        (Some(Duration::from_micros(5)), 100),
        (Some(Duration::from_micros(1)), 500),
        (Some(Duration::from_nanos(600)), 512),
        (Some(Duration::ZERO), 512),
    ];
    for (each, items) in paces {
        assert_eq!(before_a_wake(default, each), items, "at {each:?}");
    }
    // Whoever sets how many are read ahead may want each at once.
    let set = Limit::new(2048, 2048);
    assert_eq!(before_a_wake(set, Some(Duration::from_micros(1))), 1);
}

#[test]
fn a_pace_that_is_over_is_forgotten() {
    let queue = Queue::<()>::new(Limit::new(2048, 8192));
    queue.took(Duration::from_micros(100), 100);
    assert_eq!(queue.worth_a_wake(), 500);
    queue.forget_pace();
    assert_eq!(queue.worth_a_wake(), 1);
}

use std::cell::RefCell;

use super::*;

static A: Key<u32> = Key::new("a");
static B: Key<u32> = Key::new("a");
static OTHER: Key<u32> = Key::new("other");
static THIRD: Key<u32> = Key::new("third");
static TEXT: Key<&str> = Key::new("text");

#[test]
fn a_clone_may_enter_a_scope() {
    #[derive(Debug)]
    struct Enters;

    impl Clone for Enters {
        fn clone(&self) -> Self {
            assert_eq!(A.get(), Some(1));
            let values = Values::current().with(&A, 2);
            values.scope(|| assert_eq!(A.get(), Some(2)));
            Self
        }
    }

    static ENTERS: Key<Enters> = Key::new("enters");

    let values = Values::default().with(&A, 1).with(&ENTERS, Enters);
    values.scope(|| {
        assert!(ENTERS.get().is_some());
        assert_eq!(A.get(), Some(1));
    });
}

#[test]
fn keys_are_told_apart_by_place_and_not_by_name_or_type() {
    let values = Values::default().with(&A, 1);
    assert_eq!(values.get(&A), Some(&1));
    assert_eq!(values.get(&B), None);
}

#[test]
fn the_newest_value_wins_and_older_sets_stay_as_they_are() {
    let one = Values::default().with(&A, 1);
    let two = one.clone().with(&A, 2);
    assert_eq!((one.get(&A), two.get(&A)), (Some(&1), Some(&2)));
}

#[test]
fn two_values_of_one_entry_are_found_as_if_each_had_its_own() {
    let both = Values::default()
        .with(&A, 1)
        .with_both((&B, 2), (&TEXT, "b"));
    assert_eq!(both.get(&A), Some(&1));
    assert_eq!((both.get(&B), both.get(&TEXT)), (Some(&2), Some(&"b")));
    let newer = both.clone().with(&TEXT, "c");
    assert_eq!((newer.get(&B), newer.get(&TEXT)), (Some(&2), Some(&"c")));
    assert_eq!(format!("{both:?}"), r#"{"a", "text", "a"}"#);
}

#[test]
fn a_value_that_is_replaced_goes() {
    static COUNTED: Key<Arc<()>> = Key::new("counted");
    let (first, second) = (Arc::new(()), Arc::new(()));
    let values = Values::default().with(&COUNTED, first.clone());
    assert_eq!(Arc::strong_count(&first), 2);
    let values = values.with(&COUNTED, second.clone());
    assert_eq!(Arc::strong_count(&first), 1);
    // Not the newest any more: other work may have the two.
    let mut values = values.with(&A, 0);
    for n in 1..=2 * Older::SHORT {
        values = values.with(&COUNTED, first.clone()).with(&A, n);
    }
    assert_eq!(Arc::strong_count(&second), 1);
    assert!(Arc::strong_count(&first) <= 2 + Older::SHORT as usize);
    assert_eq!(values.get(&A), Some(&(2 * Older::SHORT)));
    assert!(Arc::ptr_eq(values.get(&COUNTED).unwrap(), &first));
}

#[test]
fn a_million_replaced_values_are_dropped_on_a_small_stack() {
    // The values are also current elsewhere meanwhile, as those of work that starts the next.
    let mut values = Values::default().with(&B, 7);
    for n in 0..1_000_000 {
        let theirs = values.clone();
        values = match n % 3 {
            0 => values.with(&A, n),
            1 => values.with(&TEXT, "text"),
            _ => values.with_both((&A, n), (&OTHER, n)),
        };
        drop(theirs);
    }
    assert!(values.nodes().count() <= 2 * Older::SHORT as usize);
    assert_eq!((values.get(&A), values.get(&B)), (Some(&999_999), Some(&7)));
    assert_eq!(values.get(&OTHER), Some(&999_998));
    let drops = move || drop(values);
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    thread.spawn(drops).unwrap().join().unwrap();
}

#[test]
fn who_has_the_replaced_values_keeps_them() {
    let mut values = Values::default().with(&B, 7).with(&A, 0);
    let mut all = vec![values.clone()];
    for n in 1..200 {
        values = values.with(&OTHER, n).with(&A, n);
        all.push(values.clone());
    }
    for (n, values) in (0..).zip(&all) {
        assert_eq!((values.get(&A), values.get(&B)), (Some(&n), Some(&7)));
        assert_eq!(values.get(&OTHER), (n > 0).then_some(&n));
    }
}

#[test]
fn many_values_that_are_all_there_stay() {
    let keys = keys(100);
    let mut values = Values::default();
    for (n, key) in keys.iter().enumerate() {
        values = values.with(key, n);
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(values.get(key), Some(&n));
    }
    assert_eq!(values.nodes().count(), 100);
}

fn keys(count: usize) -> &'static [Key<usize>] {
    static KEYS: [Key<usize>; 128] = [const { Key::new("key") }; 128];
    &KEYS[..count]
}

#[test]
fn a_set_is_not_copied_for_the_few_that_go() {
    let mut base = Values::default().with(&A, 1);
    for key in keys(Older::SHORT as usize - 1) {
        base = base.with(key, 0);
    }
    for n in 2..4 {
        let values = base.clone().with(&A, n);
        assert_eq!(values.get(&A), Some(&n));
        let newest = values.newest.as_ref().unwrap();
        let older = newest.older.newest.as_ref().unwrap();
        assert!(Arc::ptr_eq(older, base.newest.as_ref().unwrap()));
        assert_eq!(newest.older.limit, 2 * Older::SHORT);
    }
}

/// Otherwise a set whose newest entries are replaced would be searched again for each entry.
#[test]
fn copied_entries_have_the_limit_of_all() {
    let half = Older::SHORT / 2;
    let keys = keys(half as usize);
    let mut values = Values::default();
    for n in 0..2 {
        for key in keys {
            values = values.with(key, n);
        }
    }
    values = values.with(&A, 1);
    assert_eq!(values.nodes().count(), keys.len() + 1);
    for node in values.nodes() {
        assert_eq!(node.older.limit, 2 * half);
    }
    for key in keys {
        assert_eq!(values.get(key), Some(&1));
    }
}

#[test]
fn a_value_that_has_yet_to_be_made_is_made_before_it_is_copied() {
    let make = |n: &u32| Some(n + 1);
    let (values, late) = Values::default()
        .with(&B, 0)
        .with_late(&A, 1, &OTHER, None, make);
    let mut newer = values.clone();
    for n in 0..2 * Older::SHORT {
        newer = newer.with(&B, n).with(&THIRD, n);
    }
    assert!(newer.nodes().count() <= Older::SHORT as usize);
    assert_eq!((newer.get(&A), newer.get(&OTHER)), (Some(&1), Some(&2)));
    // One value for all, whoever asks.
    assert_eq!((late.with(|n| *n), values.get(&OTHER)), (2, Some(&2)));
}

#[test]
fn a_set_is_the_same_as_its_clones_and_no_other() {
    let one = Values::default().with(&A, 1);
    assert!(one.is_same(&one.clone()));
    assert!(!one.is_same(&Values::default().with(&A, 1)));
    assert!(!one.is_same(&Values::default()));
    assert!(Values::default().is_same(&Values::default()));
}

#[test]
fn a_panic_in_a_scope_restores_the_values() {
    let result = std::panic::catch_unwind(|| {
        Values::default()
            .with(&A, 1)
            .scope(|| std::panic::resume_unwind(Box::new(())))
    });
    assert!(result.is_err());
    assert_eq!(A.get(), None);
}

#[test]
fn lent_values_come_back_also_from_a_panic() {
    let mut values = Values::default().with(&A, 1);
    for _ in 0..2 {
        assert_eq!(values.scope_mut(|| A.get()), Some(1));
        assert_eq!(A.get(), None);
    }
    let panics = std::panic::AssertUnwindSafe(|| {
        values.scope_mut(|| std::panic::resume_unwind(Box::new(())))
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!((A.get(), values.get(&A)), (None, Some(&1)));
}

#[test]
fn values_are_there_on_a_thread_whose_locals_are_gone() {
    struct Last(std::sync::mpsc::Sender<[Option<u32>; 4]>);
    impl Drop for Last {
        fn drop(&mut self) {
            let mut values = Values::default().with(&A, 1);
            let lent = values.scope_mut(|| A.get());
            let kept = values.get(&A).copied();
            let token = CancellationToken::new();
            token.cancel();
            let cancelled = token.scope(|| crate::cancel::current().is_cancelled());
            let scoped = values.scope(|| A.get());
            let all = [lent, kept, scoped, cancelled.then_some(1)];
            self.0.send(all).unwrap();
            assert_eq!(A.get(), None);
        }
    }
    // The standard library's own: this test runs on real threads, outside any model.
    std::thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    // Locals are destroyed in the order in which they were first used, or in the reverse:
    // whichever it is, one of the two comes after the values, if those are destroyed.
    for first in [true, false] {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let keep = || LAST.with(|last| *last.borrow_mut() = Some(Last(sender)));
            if first {
                keep();
                drop(Values::current());
            } else {
                drop(Values::current());
                keep();
            }
        })
        .join()
        .unwrap();
        assert_eq!(receiver.recv().unwrap(), [Some(1); 4]);
    }
}

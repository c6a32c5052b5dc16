//! Models of the word that counts a nursery's members, with all that its memory orderings allow.
//!
//! Shuttle takes all accesses for sequentially consistent, so it cannot see a missing ordering. What
//! the nursery does with the word is modelled in `shuttle_models`. See `fourway_core::sync` for how
//! the models run.
//!
//! `.ci/mutations/members-*` are mistakes that they notice: see docs/MUTATIONS.md.

use std::sync::Arc;

use fourway_core::sync::{
    Mutex,
    atomic::{
        AtomicUsize,
        Ordering::{self, Relaxed},
    },
    check, thread,
};

use super::members::Members;

/// Something that is done before one leaves, with no ordering of its own.
#[derive(Default)]
struct Done([AtomicUsize; 2]);

impl Done {
    fn by(&self, who: usize) {
        self.0[who].store(1, Relaxed);
    }

    fn all(&self) -> bool {
        self.0.iter().all(|one| one.load(Relaxed) == 1)
    }
}

/// The body and a child leave: one of them is the last, and sees what the other has done.
#[test]
fn loom_the_last_sees_what_all_have_done() {
    check(|| {
        let shared = Arc::new((Members::new(), Done::default()));
        assert!(shared.0.try_spawn());
        let child = shared.clone();
        let leaves = |(members, done): &(Members, Done), who| {
            done.by(who);
            let last = members.leave().last;
            assert!(!last || done.all(), "it sees what the other has done");
            last
        };
        let other = thread::spawn(move || leaves(&child, 1));
        let last = [leaves(&shared, 0), other.join().unwrap()];
        assert!(last[0] != last[1], "one is the last: {last:?}");
        assert!(shared.0.is_over() && shared.0.had_children());
    });
}

/// Somebody looks whether it is over, such as the nursery's future, that leaves nothing itself.
#[test]
fn loom_who_finds_it_over_sees_what_all_have_done() {
    check(|| {
        let shared = Arc::new((Members::new(), Done::default()));
        let body = shared.clone();
        let other = thread::spawn(move || {
            body.1.by(0);
            body.1.by(1);
            body.0.leave();
        });
        if shared.0.is_over() {
            assert!(shared.1.all(), "it sees what has been done");
        }
        other.join().unwrap();
        assert!(shared.0.is_over());
    });
}

/// A thread spawns while the body leaves: either the child is in, and the end waits for it, or it
/// is refused for good.
#[test]
fn loom_spawn_while_it_closes() {
    check(|| {
        let members = Arc::new(Members::new());
        let ends = Arc::new(AtomicUsize::new(0));
        let (outside, told) = (members.clone(), ends.clone());
        let other = thread::spawn(move || {
            let spawned = outside.try_spawn();
            if spawned {
                assert!(!outside.is_over(), "its child keeps it open");
                told.fetch_add(usize::from(outside.leave().last), Ordering::SeqCst);
            } else {
                assert!(outside.is_over(), "nothing else refuses it");
            }
            spawned
        });
        ends.fetch_add(usize::from(members.leave().last), Ordering::SeqCst);
        let spawned = other.join().unwrap();
        assert_eq!(ends.load(Ordering::SeqCst), 1, "it ends once");
        assert!(members.is_over());
        assert!(!members.try_spawn() && !members.spawn() && !members.hold());
        assert_eq!((members.count(), members.had_children()), (0, spawned));
    });
}

/// A limit is set while two children are spawned. A child that comes after the limit is checked
/// against it, under the lock, and the number of children that were in before can only fall.
#[test]
fn loom_the_limit_is_kept_once_it_is_guarded() {
    check(|| {
        // The body, and one child.
        const LIMIT: usize = 2;
        let shared = Arc::new((Members::new(), Mutex::new(())));
        let spawns = |(members, lock): &(Members, Mutex<()>)| {
            if members.try_spawn() {
                return true;
            }
            let guard = lock.lock().unwrap();
            let has_place = members.count() < LIMIT;
            if has_place {
                assert!(members.spawn(), "the body is there");
            }
            drop(guard);
            has_place
        };
        let others =
            [shared.clone(), shared.clone()].map(|shared| thread::spawn(move || spawns(&shared)));
        let (members, lock) = &*shared;
        let guard = lock.lock().unwrap();
        members.guard();
        let in_before = members.count();
        drop(guard);
        let spawned = others.map(|other| usize::from(other.join().unwrap()));
        assert_eq!(
            members.count(),
            1 + spawned[0] + spawned[1],
            "nobody is lost"
        );
        assert!(members.count() <= in_before.max(LIMIT), "the limit is kept");
        assert!(members.count() >= LIMIT, "one of them has the place");
    });
}

/// One waits in line, and the word is guarded, while the only child leaves: one of the two sees
/// to it that the place is given.
#[test]
fn loom_who_leaves_passes_its_place_on() {
    check(|| {
        let shared = Arc::new((Members::new(), Mutex::new(0)));
        assert!(shared.0.try_spawn());
        let child = shared.clone();
        // As `pass_on`: gives the one place, if it is free, to who waits.
        let pass_on = |(members, waiting): &(Members, Mutex<usize>)| {
            let mut waiting = waiting.lock().unwrap();
            if *waiting == 1 && members.count() == 1 {
                *waiting = 0;
            }
        };
        let other = thread::spawn(move || {
            if child.0.leave().guarded {
                pass_on(&child);
            }
        });
        let (members, waiting) = &*shared;
        let mut line = waiting.lock().unwrap();
        members.guard();
        *line = 1;
        drop(line);
        pass_on(&shared);
        other.join().unwrap();
        assert_eq!(*waiting.lock().unwrap(), 0, "the place is given");
    });
}

//! A [`Notice`] by itself, for which the models of the whole pool have too many schedules.

use std::sync::Arc;

use super::notice::Notice;
use crate::sync::{
    atomic::{AtomicUsize, Ordering::Relaxed},
    check, thread,
};

/// A thread that gets a notice sees what was done before it, whether it sleeps or only looks.
#[test]
fn loom_notice() {
    check(|| {
        let notice = Arc::new(Notice::new());
        let done = Arc::new(AtomicUsize::new(0));
        let other = thread::spawn({
            let (notice, done) = (notice.clone(), done.clone());
            move || {
                done.store(1, Relaxed);
                notice.mark();
                notice.wake();
            }
        });
        notice.wait();
        assert_eq!(done.load(Relaxed), 1);
        other.join().unwrap();
    });
}

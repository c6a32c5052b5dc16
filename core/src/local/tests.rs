use std::{
    cell::RefCell,
    future::{Future, IntoFuture, pending, poll_fn, ready},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::*;

/// Polls the future once, after which it must be ready; or refuses it.
struct Once {
    refuses: bool,
}

impl BlockOn for Once {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        if self.refuses {
            return Err(BlockOnError::nested());
        }
        Ok(at_once(future.into_future()))
    }
}

#[track_caller]
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready at once"),
    }
}

#[test]
fn where_block_on_is_refused_nothing_of_the_function_runs() {
    let mut called = false;
    let refused = block_on(&Once { refuses: true }, |_| {
        called = true;
        ready(())
    });
    assert!(refused.is_err_and(|error| error.is_nested()));
    assert!(!called);
}

#[test]
fn the_function_may_spawn_before_it_returns_its_future() {
    let spawned = |_: Local| {
        assert!(current().is_some());
        spawn(async { 1 })
    };
    let sum = block_on(&Once { refuses: false }, spawned).unwrap();
    assert_eq!(sum.unwrap(), 1);
    assert_eq!(at_once(run(spawned)).unwrap(), 1);
    assert!(current().is_none());
}

#[test]
fn a_function_that_panics_leaves_nothing_behind() {
    let mut kept = None;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        at_once(run(|local: Local| {
            kept = Some(local.spawn_local(pending::<()>()));
            if kept.is_some() {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            ready(())
        }));
    }));
    assert!(panicked.is_err());
    assert!(current().is_none());
    let error = at_once(kept.unwrap()).unwrap_err();
    assert!(error.is_shutdown(), "{error:?}");
}

/// Counts its wakes, and panics at each.
#[derive(Default)]
struct Panics(AtomicUsize);

impl Panics {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

fn join_later<T>(task: &mut LocalTask<T>, panics: &Arc<Panics>) {
    let waker = Waker::from(panics.clone());
    let poll = Pin::new(task).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
}

#[test]
fn at_the_end_each_handle_resolves_whatever_their_wakers_do() {
    let panics = Arc::new(Panics::default());
    let tasks = at_once(run(async |local| {
        let spawn = |_| local.spawn_local(pending::<()>());
        let mut tasks: Vec<_> = (0..3).map(spawn).collect();
        tasks.iter_mut().for_each(|task| join_later(task, &panics));
        tasks
    }));
    assert_eq!(panics.wakes(), 3);
    for task in tasks {
        assert!(task.is_finished());
        let error = at_once(task).unwrap_err();
        assert!(error.is_shutdown(), "{error:?}");
    }
}

#[test]
fn a_joiner_whose_waker_panics_is_not_the_affair_of_the_others() {
    let panics = Arc::new(Panics::default());
    let (first, second) = at_once(run(async |local| {
        let mut first = local.spawn_local(ready(1));
        join_later(&mut first, &panics);
        let second = local.spawn_local(ready(2));
        (first.await, second.await)
    }));
    assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
}

#[test]
fn who_wakes_a_task_survives_the_waker_of_the_whole() {
    let panics = Arc::new(Panics::default());
    let waker = Waker::from(panics.clone());
    let mut cx = Context::from_waker(&waker);
    let woken = Rc::new(RefCell::new(None::<Waker>));
    let left = woken.clone();
    let mut whole = pin!(run(async |_| {
        let mut polled = false;
        poll_fn(|cx| {
            *left.borrow_mut() = Some(cx.waker().clone());
            if std::mem::replace(&mut polled, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }));
    assert!(whole.as_mut().poll(&mut cx).is_pending());
    let inner = woken.take().expect("it was polled");
    inner.wake();
    assert_eq!(panics.wakes(), 1);
    assert!(whole.as_mut().poll(&mut cx).is_ready());
}

/// A detached task that holds `alive` and is never ready. It gives its waker to `kept`, if asked.
fn detach_pending(alive: &Rc<()>, kept: Option<Rc<RefCell<Option<Waker>>>>) {
    let alive = alive.clone();
    spawn(async move {
        let _alive = alive;
        poll_fn(|cx| {
            if let Some(kept) = &kept {
                *kept.borrow_mut() = Some(cx.waker().clone());
            }
            Poll::<()>::Pending
        })
        .await;
    })
    .detach();
}

#[test]
fn a_task_that_nobody_can_wake_is_destroyed() {
    let alive = Rc::new(());
    let mut whole = pin!(run(async |_| {
        detach_pending(&alive, None);
        pending::<()>().await;
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(whole.as_mut().poll(&mut cx).is_pending());
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_task_whose_last_waker_goes_elsewhere_is_destroyed_here() {
    struct Told(AtomicUsize);
    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let told = Arc::new(Told(AtomicUsize::new(0)));
    let waker = Waker::from(told.clone());
    let mut cx = Context::from_waker(&waker);
    let (alive, kept) = (Rc::new(()), Rc::new(RefCell::new(None)));
    let mut whole = pin!(run(async |_| {
        detach_pending(&alive, Some(kept.clone()));
        pending::<()>().await;
    }));
    // Until nothing is due.
    loop {
        let before = told.0.load(Ordering::Relaxed);
        assert!(whole.as_mut().poll(&mut cx).is_pending());
        if told.0.load(Ordering::Relaxed) == before {
            break;
        }
    }
    assert_eq!(Rc::strong_count(&alive), 2);
    let before = told.0.load(Ordering::Relaxed);
    let last = kept.take().expect("the task was polled");
    std::thread::spawn(move || drop(last)).join().unwrap();
    assert_eq!(told.0.load(Ordering::Relaxed), before + 1);
    assert_eq!(Rc::strong_count(&alive), 2);
    assert!(whole.as_mut().poll(&mut cx).is_pending());
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn to_call_cancel_cancels() {
    let alive = Rc::new(());
    at_once(run(async |local| {
        let inside = alive.clone();
        let cancelled = local
            .spawn_local(async move {
                let _inside = inside;
                pending::<()>().await;
            })
            .cancel();
        // One other task is polled between.
        local.spawn_local(ready(())).await.unwrap();
        assert_eq!(Rc::strong_count(&alive), 1);
        assert!(cancelled.await.unwrap_err().is_cancelled());
    }));
}

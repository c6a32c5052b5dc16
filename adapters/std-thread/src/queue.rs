//! The queues of ready tasks: crossbeam's; or, when models are checked, plain ones
//! that do the same under a lock, at which the checker can change threads.

#[cfg(not(any(fourway_shuttle, fourway_loom)))]
pub(crate) use crossbeam_deque::{Injector, Steal, Stealer, Worker as Local};

#[cfg(any(fourway_shuttle, fourway_loom))]
pub(crate) use self::modelled::{Injector, Local, Steal, Stealer};

/// Tries until it is clear whether there is something.
pub(crate) fn surely<T>(mut steal: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(value) => return Some(value),
            Steal::Empty => return None,
            // Another thread was faster, and has something now.
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}

#[cfg(any(fourway_shuttle, fourway_loom))]
mod modelled {
    use std::{collections::VecDeque, sync::Arc};

    use crate::sync::Mutex;

    pub(crate) enum Steal<T> {
        Empty,
        Success(T),
        #[allow(dead_code, reason = "as in the original, which cannot always tell")]
        Retry,
    }

    pub(crate) struct Injector<T>(Mutex<VecDeque<T>>);

    impl<T> Injector<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }

        pub(crate) fn push(&self, value: T) {
            self.0.lock().unwrap().push_back(value);
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }

        pub(crate) fn steal(&self) -> Steal<T> {
            match self.0.lock().unwrap().pop_front() {
                Some(value) => Steal::Success(value),
                None => Steal::Empty,
            }
        }

        pub(crate) fn steal_batch_and_pop(&self, to: &Local<T>) -> Steal<T> {
            take_half(&self.0, to)
        }
    }

    fn take_half<T>(from: &Mutex<VecDeque<T>>, to: &Local<T>) -> Steal<T> {
        let mut taken = {
            let mut from = from.lock().unwrap();
            let half = from.len().div_ceil(2);
            from.drain(..half).collect::<VecDeque<T>>()
        };
        let Some(first) = taken.pop_front() else {
            return Steal::Empty;
        };
        taken.into_iter().for_each(|value| to.push(value));
        Steal::Success(first)
    }

    pub(crate) struct Local<T>(Arc<Mutex<VecDeque<T>>>);

    impl<T> Local<T> {
        pub(crate) fn new_fifo() -> Self {
            Self(Arc::new(Mutex::new(VecDeque::new())))
        }

        pub(crate) fn stealer(&self) -> Stealer<T> {
            Stealer(self.0.clone())
        }

        pub(crate) fn push(&self, value: T) {
            self.0.lock().unwrap().push_back(value);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.lock().unwrap().pop_front()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
    }

    pub(crate) struct Stealer<T>(Arc<Mutex<VecDeque<T>>>);

    impl<T> Stealer<T> {
        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }

        pub(crate) fn steal(&self) -> Steal<T> {
            match self.0.lock().unwrap().pop_front() {
                Some(value) => Steal::Success(value),
                None => Steal::Empty,
            }
        }

        pub(crate) fn steal_batch_and_pop(&self, to: &Local<T>) -> Steal<T> {
            take_half(&self.0, to)
        }
    }
}

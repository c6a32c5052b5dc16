//! Handles of work whose output has no type on its way: [`AnyTask`], [`AnyOffloadTask`].

use std::{
    any::Any,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    small::{DropValue, Small, Table, TableOf, drop_value},
    spawned::Output,
};
use crate::{AbortHandle, BlockOnError, JoinError, Task, task::Metadata};

/// A closure's output without its type. To the runtime it is the closure's output, so the runtime
/// destroys an unwanted one where the contract says (OF-3, cancelled closures).
pub(crate) type ClosureOutput = Box<dyn Any + Send + 'static>;

fn unboxed<T: 'static>(output: ClosureOutput) -> T {
    *output.downcast().expect("boxed as what the handle says")
}

fn taken<T: Send + 'static>(output: Output) -> T {
    output.take()
}

/// A runtime's handle without its type, of work whose output is an `O`.
pub(crate) type Untyped<O> = Small<HandleTable<O>, 7>;

/// A runtime's handle, in place if it is as small as the handles of our runtimes.
pub(crate) fn untyped<O: 'static>(task: impl Task<O> + 'static) -> Untyped<O> {
    fn held<O: 'static, H: Task<O> + 'static>(task: H) -> Untyped<O> {
        // The caller moves it to where it is awaited.
        Small::in_pairs(Held(Some(task)))
    }
    if fits::<O, _>(&task) {
        held(task)
    } else {
        held::<O, Box<dyn Task<O>>>(Box::new(task))
    }
}

fn fits<O: 'static, H>(_: &H) -> bool {
    Untyped::<O>::fits::<Held<H>>()
}

/// What can be done with a handle.
pub(crate) struct HandleTable<O> {
    /// # Safety
    ///
    /// Takes a pointer to a handle of the type to which the caller alone has access.
    poll: unsafe fn(*mut (), &mut Context<'_>) -> Poll<Result<O, JoinError>>,
    /// Makes a pointer to a handle of the type one that can do the rest.
    known_as: fn(*mut ()) -> *mut dyn Handle<O>,
    drop: DropValue,
}

impl<O: 'static> Table for HandleTable<O> {
    type Owns = dyn Handle<O>;

    #[inline]
    fn drop(&self) -> DropValue {
        self.drop
    }
}

#[allow(unsafe_code, reason = "see `small`")]
// SAFETY: the functions are those of a `Held<H>`. A `Task` is `Send`, `Sync` and `Unpin`, and so is
// the `Held` around it.
unsafe impl<O: 'static, H: Task<O> + 'static> TableOf<Held<H>> for HandleTable<O> {
    const TABLE: &'static Self = &Self {
        poll: poll::<O, H>,
        known_as: |task| task.cast::<Held<H>>(),
        drop: drop_value::<Held<H>>(),
    };
}

#[allow(unsafe_code, reason = "see `small`")]
/// # Safety
///
/// `task` points to a `Held<H>` to which the caller alone has access.
unsafe fn poll<O, H: Task<O>>(task: *mut (), cx: &mut Context<'_>) -> Poll<Result<O, JoinError>> {
    // SAFETY: promised by the caller.
    let task = unsafe { &mut *task.cast::<Held<H>>() };
    Pin::new(task.get_mut()).poll(cx)
}

#[allow(unsafe_code, reason = "see `small`")]
impl<O: 'static> Untyped<O> {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<O, JoinError>> {
        // SAFETY: the table and the value are of the same `Small`, which is borrowed mutably.
        unsafe { (self.table().poll)(self.value(), cx) }
    }

    fn get(&self) -> &dyn Handle<O> {
        // SAFETY: as above: `known_as` gives a pointer to the value, which lives as long as `self`.
        unsafe { &*(self.table().known_as)(self.value()) }
    }

    fn get_mut(&mut self) -> &mut dyn Handle<O> {
        // SAFETY: as above; and `self` is borrowed mutably.
        unsafe { &mut *(self.table().known_as)(self.value()) }
    }
}

/// [`Task`], for a handle that is borrowed, without its future.
pub(crate) trait Handle<O>: Send + Sync + Unpin {
    fn is_finished(&self) -> bool;
    fn abort(&self);
    fn abort_handle(&self) -> AbortHandle;
    fn metadata(&self) -> Option<&Metadata>;
    /// The last call on a handle.
    fn detach(&mut self);
    fn try_wait(&mut self) -> Result<Result<O, JoinError>, BlockOnError>;
}

/// A handle, until it is detached.
struct Held<H>(Option<H>);

const DETACHED: &str = "`detach` consumes the handle";

impl<H> Held<H> {
    #[inline]
    fn get(&self) -> &H {
        self.0.as_ref().expect(DETACHED)
    }

    #[inline]
    fn get_mut(&mut self) -> &mut H {
        self.0.as_mut().expect(DETACHED)
    }
}

impl<O, H: Task<O>> Handle<O> for Held<H> {
    fn is_finished(&self) -> bool {
        self.get().is_finished()
    }

    fn abort(&self) {
        self.get().abort();
    }

    fn abort_handle(&self) -> AbortHandle {
        self.get().abort_handle()
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.get().metadata()
    }

    fn detach(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }

    fn try_wait(&mut self) -> Result<Result<O, JoinError>, BlockOnError> {
        self.get_mut().try_wait()
    }
}

/// A handle around one whose output has no type.
macro_rules! handle {
    ($(#[$docs:meta])* $name:ident, $erased:ty, $typed:ident) => {
        $(#[$docs])*
        #[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
        pub struct $name<T> {
            task: Untyped<$erased>,
            output: PhantomData<fn() -> T>,
        }

        impl<T> $name<T> {
            pub(crate) fn new(task: Untyped<$erased>) -> Self {
                Self {
                    task,
                    output: PhantomData,
                }
            }
        }

        // As the handles are that it may hold: a panic reaches the joiner as a value.
        impl<T> std::panic::UnwindSafe for $name<T> {}
        impl<T> std::panic::RefUnwindSafe for $name<T> {}

        impl<T: Send + 'static> Future for $name<T> {
            type Output = Result<T, JoinError>;

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                self.task.poll(cx).map_ok($typed)
            }
        }

        impl<T: Send + 'static> Task<T> for $name<T> {
            fn is_finished(&self) -> bool {
                self.task.get().is_finished()
            }

            fn abort(&self) {
                self.task.get().abort();
            }

            fn abort_handle(&self) -> AbortHandle {
                self.task.get().abort_handle()
            }

            fn metadata(&self) -> Option<&Metadata> {
                self.task.get().metadata()
            }

            fn detach(mut self) {
                self.task.get_mut().detach();
            }

            fn detach_boxed(self: Box<Self>) {
                (*self).detach();
            }

            fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
                let result = self.task.get_mut().try_wait()?;
                Ok(result.map($typed))
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

handle! {
    /// The handle of a future spawned through [`AnyRuntime`](crate::AnyRuntime).
    AnyTask, Output, taken
}

handle! {
    /// The handle of a closure offloaded through [`AnyRuntime`](crate::AnyRuntime), or of a
    /// boxed call that was mapped.
    AnyOffloadTask, ClosureOutput, unboxed
}

//! Handles of work whose output has no type on its way: [`AnyTask`], [`AnyOffloadTask`].

use std::{
    any::Any,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::small::{self, KnownAs, Small, SmallOutput};
use crate::{AbortHandle, BlockOnError, JoinError, Task, task::Metadata};

/// A closure's output without its type. To the runtime it is the closure's output, so the runtime
/// destroys an unwanted one where the contract says (OF-3).
pub(crate) type Output = Box<dyn Any + Send + 'static>;

fn unboxed<T: 'static>(output: Output) -> T {
    let output = output.downcast::<T>();
    *output.expect("boxed as what the handle says")
}

fn taken<T: Send + 'static>(output: SmallOutput) -> T {
    small::take(output)
}

/// A runtime's handle without its type, of work whose output is an `O`.
pub(crate) type Untyped<O> = Small<dyn Handle<O>, 7>;

/// A runtime's handle, in place if it is as small as the handles of our runtimes.
pub(crate) fn untyped<O: 'static>(task: impl Task<O> + 'static) -> Untyped<O> {
    fn held<O: 'static, H: Task<O> + 'static>(task: H) -> Untyped<O> {
        Small::new(Held(Some(task)))
    }
    if fits::<O, _>(&task) {
        held(task)
    } else {
        held::<O, Box<dyn Task<O>>>(Box::new(task))
    }
}

fn fits<O, H>(_: &H) -> bool {
    Untyped::<O>::fits::<Held<H>>()
}

/// [`Task`], for a handle that is borrowed.
pub(crate) trait Handle<O>: Send + Sync + Unpin {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<O, JoinError>>;
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
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<O, JoinError>> {
        Pin::new(self.get_mut()).poll(cx)
    }

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

#[allow(unsafe_code, reason = "see `KnownAs`")]
// SAFETY: the pointer is the given one. A `Task` is `Send`, `Sync` and `Unpin`, and so is the
// `Held` around it.
unsafe impl<O: 'static, H: Task<O> + 'static> KnownAs<dyn Handle<O>> for Held<H> {
    fn known_as(this: *mut Self) -> *mut dyn Handle<O> {
        this
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

        impl<T: Send + 'static> Future for $name<T> {
            type Output = Result<T, JoinError>;

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                let output = ready!(self.task.get_mut().poll(cx))?;
                Poll::Ready(Ok($typed(output)))
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
                Ok(self.task.get_mut().try_wait()?.map($typed))
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
    AnyTask, SmallOutput, taken
}

handle! {
    /// The handle of a closure offloaded through [`AnyRuntime`](crate::AnyRuntime), or of a
    /// boxed call that was mapped.
    AnyOffloadTask, Output, unboxed
}

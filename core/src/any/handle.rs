//! Handles of work whose output has no type on its way: [`AnyTask`], [`AnyOffloadTask`].

use std::{
    any::Any,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::spawned::Whole;
use crate::{AbortHandle, BlockOnError, JoinError, Task, task::Metadata};

/// A closure's output without its type. As it is the output that the runtime
/// knows, the runtime destroys it where the contract says if nobody wants it
/// (OF-3).
pub(crate) type Output = Box<dyn Any + Send + 'static>;

fn unboxed<T: 'static>(output: Output) -> T {
    let output = output.downcast::<T>();
    *output.expect("boxed as what the handle says")
}

fn given<T: 'static>(mut whole: Whole) -> T {
    let mut output = None;
    whole.as_mut().give(&mut output);
    output.expect("spawned as what the handle says, and ready")
}

/// A handle around one whose output has no type.
macro_rules! handle {
    ($(#[$docs:meta])* $name:ident, $erased:ty, $typed:ident) => {
        $(#[$docs])*
        #[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
        pub struct $name<T> {
            task: Box<dyn Task<$erased>>,
            output: PhantomData<fn() -> T>,
        }

        impl<T> $name<T> {
            pub(crate) fn new(task: Box<dyn Task<$erased>>) -> Self {
                Self {
                    task,
                    output: PhantomData,
                }
            }
        }

        impl<T: Send + 'static> Future for $name<T> {
            type Output = Result<T, JoinError>;

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                let output = ready!(Pin::new(&mut *self.task).poll(cx))?;
                Poll::Ready(Ok($typed(output)))
            }
        }

        impl<T: Send + 'static> Task<T> for $name<T> {
            fn is_finished(&self) -> bool {
                self.task.is_finished()
            }

            fn abort(&self) {
                self.task.abort();
            }

            fn abort_handle(&self) -> AbortHandle {
                self.task.abort_handle()
            }

            fn metadata(&self) -> Option<&Metadata> {
                self.task.metadata()
            }

            fn detach(self) {
                self.task.detach_boxed();
            }

            fn detach_boxed(self: Box<Self>) {
                (*self).detach();
            }

            fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
                Ok(self.task.try_wait()?.map($typed))
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
    AnyTask, Whole, given
}

handle! {
    /// The handle of a closure offloaded through [`AnyRuntime`](crate::AnyRuntime), or of a
    /// boxed call that was mapped.
    AnyOffloadTask, Output, unboxed
}

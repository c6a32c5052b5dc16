use std::{
    any::Any,
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
};

use super::{
    Call, CallError, CallFuture, MapFallible,
    parts::{Parts, Waited},
};
use crate::{
    AnyOffloadTask, AnyRuntime, BlockOnError, CancellationToken, Task, any::untyped, task::Metadata,
};

/// A [`Call`] of any type. Made by [`Call::boxed`].
///
/// For places that need one type: methods of a `dyn` trait, fields, a `Vec` of different calls,
/// both branches of an `if`, a body that calls itself. The kind of the body stays the same:
/// `.wait()` on a blocking body is still a plain call.
///
/// It costs an allocation, and one more to await or to spawn it. Where it is part of
/// another call that is spawned or limited, its runtime costs one as well, unless that is
/// an [`AnyRuntime`] already.
///
/// # Examples
///
/// ```
/// use fourway_core::{AnyRuntime, Runtime, call::{BoxCall, Call}};
///
/// trait Store {
///     fn get(&self, key: u32) -> BoxCall<Option<String>>;
/// }
///
/// struct Memory(AnyRuntime);
///
/// impl Store for Memory {
///     fn get(&self, key: u32) -> BoxCall<Option<String>> {
///         match key {
///             0 => self.0.call(async { None }).boxed(),
///             _ => self.0.call_blocking(move || Some(key.to_string())).boxed(),
///         }
///     }
/// }
///
/// /// Sums up a tree: an async body that calls itself.
/// fn sum<R: Runtime>(rt: R, depth: u32) -> BoxCall<u32> {
///     let inner = rt.clone();
///     rt.call_with(async move || match depth {
///         0 => 1,
///         _ => sum(inner.clone(), depth - 1).await + sum(inner, depth - 1).await,
///     })
///     .boxed()
/// }
/// ```
#[must_use = "a call does nothing unless you `.wait()`, `.await` or `.spawn()` it"]
pub struct BoxCall<T: Send + 'static> {
    call: Box<dyn Erased<T>>,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send + 'static>>;

/// An output without its type, as [`AnyOffloadTask`] takes it.
type Output = Box<dyn Any + Send + 'static>;

/// The mapping of an output of type `T`, as a closure of one type.
type Map<T> = Box<dyn FnOnce(T) -> Output + Send>;

/// [`Call`] without generics.
///
/// Each way to use the call has a variant with a mapping, which runs where the body runs. (A method
/// that returned a mapped call would box a new type each time, without end.)
trait Erased<T: Send + 'static>: Send {
    fn runtime(&self) -> AnyRuntime;

    fn future(self: Box<Self>, metadata: Metadata) -> BoxFuture<T>;
    fn try_wait(self: Box<Self>) -> Result<T, BlockOnError>;
    fn try_wait_until(self: Box<Self>, token: &CancellationToken) -> Waited<T>;
    fn spawn(self: Box<Self>, metadata: Metadata) -> Box<dyn Task<T>>;

    fn future_with(self: Box<Self>, metadata: Metadata, map: Map<T>) -> BoxFuture<Output>;
    fn try_wait_with(self: Box<Self>, map: Map<T>) -> Result<Output, BlockOnError>;
    fn try_wait_until_with(
        self: Box<Self>,
        token: &CancellationToken,
        map: Map<T>,
    ) -> Waited<Output>;
    fn spawn_with(self: Box<Self>, metadata: Metadata, map: Map<T>) -> Box<dyn Task<Output>>;
}

impl<C: Call> Erased<C::Output> for C {
    fn runtime(&self) -> AnyRuntime {
        AnyRuntime::new(Parts::runtime(self))
    }

    fn future(self: Box<Self>, metadata: Metadata) -> BoxFuture<C::Output> {
        Box::pin((*self).fallible_with(metadata))
    }

    fn try_wait(self: Box<Self>) -> Result<C::Output, BlockOnError> {
        Call::try_wait(*self)
    }

    fn try_wait_until(self: Box<Self>, token: &CancellationToken) -> Waited<C::Output> {
        Parts::try_wait_until(*self, token)
    }

    fn spawn(self: Box<Self>, metadata: Metadata) -> Box<dyn Task<C::Output>> {
        Box::new(Call::spawn_with(*self, metadata))
    }

    fn future_with(self: Box<Self>, metadata: Metadata, map: Map<C::Output>) -> BoxFuture<Output> {
        Box::pin(Call::map(*self, map).fallible_with(metadata))
    }

    fn try_wait_with(self: Box<Self>, map: Map<C::Output>) -> Result<Output, BlockOnError> {
        Call::map(*self, map).try_wait()
    }

    fn try_wait_until_with(
        self: Box<Self>,
        token: &CancellationToken,
        map: Map<C::Output>,
    ) -> Waited<Output> {
        Call::map(*self, map).try_wait_until(token)
    }

    fn spawn_with(
        self: Box<Self>,
        metadata: Metadata,
        map: Map<C::Output>,
    ) -> Box<dyn Task<Output>> {
        Box::new(Call::map(*self, map).spawn_with(metadata))
    }
}

impl<T: Send + 'static> BoxCall<T> {
    pub(super) fn new<C: Call + IntoFuture<Output = T>>(call: C) -> Self {
        Self {
            call: Box::new(call),
        }
    }
}

impl<T: Send + 'static> IntoFuture for BoxCall<T> {
    type Output = T;
    type IntoFuture = CallFuture<BoxFuture<T>>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        CallFuture::new(self.fallible())
    }
}

impl<T: Send + 'static> Parts for BoxCall<T> {
    type Runtime = AnyRuntime;

    fn runtime(&self) -> AnyRuntime {
        self.call.runtime()
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<T> {
        self.call.try_wait_until(token)
    }
}

impl<T: Send + 'static> Call for BoxCall<T> {
    type Task = Box<dyn Task<T>>;
    type Fallible = BoxFuture<T>;

    fn fallible_with(self, metadata: Metadata) -> BoxFuture<T> {
        self.call.future(metadata)
    }

    fn try_wait(self) -> Result<T, BlockOnError> {
        self.call.try_wait()
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        self.call.spawn(metadata)
    }

    fn map<U, G>(self, g: G) -> impl Call<Output = U>
    where
        G: FnOnce(T) -> U + Send + 'static,
        U: Send + 'static,
    {
        Mapped {
            call: self,
            map: Box::new(move |output| Box::new(g(output))),
            output: PhantomData,
        }
    }

    fn boxed(self) -> Self {
        self
    }
}

impl<T: Send + 'static> fmt::Debug for BoxCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxCall").finish_non_exhaustive()
    }
}

/// A boxed call, and the mapping of its output to a `U`.
struct Mapped<T: Send + 'static, U> {
    call: BoxCall<T>,
    map: Map<T>,
    output: PhantomData<fn() -> U>,
}

fn typed<U: 'static>(output: Output) -> U {
    let output = output.downcast();
    *output.expect("boxed as what the call says")
}

impl<T: Send + 'static, U: Send + 'static> IntoFuture for Mapped<T, U> {
    type Output = U;
    type IntoFuture = CallFuture<MapFallible<BoxFuture<Output>, fn(Output) -> U>>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        CallFuture::new(self.fallible())
    }
}

impl<T: Send + 'static, U: Send + 'static> Parts for Mapped<T, U> {
    type Runtime = AnyRuntime;

    fn runtime(&self) -> AnyRuntime {
        Parts::runtime(&self.call)
    }

    fn try_wait_until(self, token: &CancellationToken) -> Waited<U> {
        let waited = self.call.call.try_wait_until_with(token, self.map)?;
        Ok(waited.map(typed))
    }
}

impl<T: Send + 'static, U: Send + 'static> Call for Mapped<T, U> {
    type Task = AnyOffloadTask<U>;
    type Fallible = MapFallible<BoxFuture<Output>, fn(Output) -> U>;

    fn fallible_with(self, metadata: Metadata) -> Self::Fallible {
        MapFallible::new(self.call.call.future_with(metadata, self.map), typed)
    }

    fn try_wait(self) -> Result<U, BlockOnError> {
        self.call.call.try_wait_with(self.map).map(typed)
    }

    fn spawn_with(self, metadata: Metadata) -> Self::Task {
        AnyOffloadTask::new(untyped(self.call.call.spawn_with(metadata, self.map)))
    }

    fn map<V, G>(self, g: G) -> impl Call<Output = V>
    where
        G: FnOnce(U) -> V + Send + 'static,
        V: Send + 'static,
    {
        let first = self.map;
        Mapped {
            call: self.call,
            map: Box::new(move |output| -> Output { Box::new(g(typed(first(output)))) }),
            output: PhantomData,
        }
    }
}

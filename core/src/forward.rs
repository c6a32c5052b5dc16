//! Passing a trait's methods on: [`forward!`](crate::forward!), and the traits for
//! references, so that a runtime that lives long enough need not be cloned.
//!
//! A `&'static R` is a [`Runtime`](crate::Runtime) of its own. A
//! [`Call`](crate::Call) keeps a clone of its runtime; for a reference that is a
//! copy, where a handle would count references up and down.

/// Implements a trait of a runtime by passing every one of its methods on, provided ones
/// included, to a runtime inside.
///
/// For layers: a layer adds something to one trait or two and passes the others on. A method that
/// is not passed on silently falls back to the trait's default, which may be wrong:
/// [`Spawner::surround`](crate::Spawner::surround) does nothing then. This macro passes on all
/// methods, including those that the traits gain later.
///
/// `[generics] Trait for Type as Inner => |this| expression`: the expression gives a
/// reference to the `Inner` from `this`, a reference to the `Type`. The traits are
/// `Spawner`, `BlockOn`, `Offload`, `Timer` and `Shutdown`.
///
/// `provided Spawner`, `provided Offload` and `provided Timer`, inside of an implementation
/// written by hand, write the methods that are made of others, such as
/// [`spawn`](crate::Spawner::spawn). Then clippy's `missing_trait_methods` can be denied there, and
/// finds each method that is not passed on.
///
/// # Examples
///
/// ```
/// use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Timer, forward};
///
/// /// Counts what is spawned, and passes all else on.
/// #[derive(Clone)]
/// struct Counted<R>(R);
///
/// forward!([R: BlockOn] BlockOn for Counted<R> as R => |this| &this.0);
/// forward!([R: Offload] Offload for Counted<R> as R => |this| &this.0);
/// forward!([R: Timer] Timer for Counted<R> as R => |this| &this.0);
/// forward!([R: Shutdown] Shutdown for Counted<R> as R => |this| &this.0);
/// ```
#[macro_export]
macro_rules! forward {
    ([$($generics:tt)*] Spawner for $type:ty as $inner:ty => |$this:ident| $to:expr) => {
        #[deny(
            clippy::missing_trait_methods,
            reason = "a method that is not passed on is lost without a word"
        )]
        impl<$($generics)*> $crate::Spawner for $type {
            type Task<T: ::core::marker::Send + 'static> = <$inner as $crate::Spawner>::Task<T>;

            $crate::forward!(provided Spawner);

            fn spawn_with<F>(
                &self,
                metadata: $crate::task::Metadata,
                future: F,
            ) -> Self::Task<F::Output>
            where
                F: ::core::future::IntoFuture<
                        Output: ::core::marker::Send + 'static,
                        IntoFuture: ::core::marker::Send + 'static,
                    >,
            {
                let $this = self;
                <$inner as $crate::Spawner>::spawn_with($to, metadata, future)
            }

            fn spawn_detached_with<F>(&self, metadata: $crate::task::Metadata, future: F)
            where
                F: ::core::future::IntoFuture<
                        Output: ::core::marker::Send + 'static,
                        IntoFuture: ::core::marker::Send + 'static,
                    >,
            {
                let $this = self;
                <$inner as $crate::Spawner>::spawn_detached_with($to, metadata, future);
            }

            fn surround<T>(&self, f: impl FnOnce() -> T) -> T {
                let $this = self;
                <$inner as $crate::Spawner>::surround($to, f)
            }

            $crate::__forward_spawner_std!($inner, $this, $to);
        }
    };
    ([$($generics:tt)*] BlockOn for $type:ty as $inner:ty => |$this:ident| $to:expr) => {
        #[deny(
            clippy::missing_trait_methods,
            reason = "a method that is not passed on is lost without a word"
        )]
        impl<$($generics)*> $crate::BlockOn for $type {
            #[inline]
            fn try_block_on<F: ::core::future::IntoFuture>(
                &self,
                future: F,
            ) -> ::core::result::Result<F::Output, $crate::BlockOnError> {
                let $this = self;
                <$inner as $crate::BlockOn>::try_block_on($to, future)
            }

            #[track_caller]
            fn block_on<F: ::core::future::IntoFuture>(&self, future: F) -> F::Output {
                let $this = self;
                <$inner as $crate::BlockOn>::block_on($to, future)
            }

            fn block_in_place<T, F: FnOnce() -> T>(
                &self,
                f: F,
            ) -> ::core::result::Result<T, $crate::BlockOnError> {
                let $this = self;
                <$inner as $crate::BlockOn>::block_in_place($to, f)
            }
        }
    };
    ([$($generics:tt)*] Offload for $type:ty as $inner:ty => |$this:ident| $to:expr) => {
        #[deny(
            clippy::missing_trait_methods,
            reason = "a method that is not passed on is lost without a word"
        )]
        impl<$($generics)*> $crate::Offload for $type {
            type OffloadTask<T: ::core::marker::Send + 'static> =
                <$inner as $crate::Offload>::OffloadTask<T>;

            $crate::forward!(provided Offload);

            fn offload_with<F, T>(
                &self,
                metadata: $crate::task::Metadata,
                f: F,
            ) -> Self::OffloadTask<T>
            where
                F: FnOnce() -> T + ::core::marker::Send + 'static,
                T: ::core::marker::Send + 'static,
            {
                let $this = self;
                <$inner as $crate::Offload>::offload_with($to, metadata, f)
            }

            fn try_offload_with<F, T>(
                &self,
                metadata: $crate::task::Metadata,
                f: F,
            ) -> ::core::result::Result<Self::OffloadTask<T>, $crate::TryOffloadError<F>>
            where
                F: FnOnce() -> T + ::core::marker::Send + 'static,
                T: ::core::marker::Send + 'static,
            {
                let $this = self;
                <$inner as $crate::Offload>::try_offload_with($to, metadata, f)
            }

            $crate::__forward_offload_std!($inner, $this, $to);
        }
    };
    ([$($generics:tt)*] Timer for $type:ty as $inner:ty => |$this:ident| $to:expr) => {
        #[deny(
            clippy::missing_trait_methods,
            reason = "a method that is not passed on is lost without a word"
        )]
        impl<$($generics)*> $crate::Timer for $type {
            type Sleep = <$inner as $crate::Timer>::Sleep;

            fn sleep(&self, duration: ::core::time::Duration) -> Self::Sleep {
                let $this = self;
                <$inner as $crate::Timer>::sleep($to, duration)
            }

            $crate::__forward_timer_std!($inner, $this, $to);
        }
    };
    ([$($generics:tt)*] Shutdown for $type:ty as $inner:ty => |$this:ident| $to:expr) => {
        #[deny(
            clippy::missing_trait_methods,
            reason = "a method that is not passed on is lost without a word"
        )]
        impl<$($generics)*> $crate::Shutdown for $type {
            fn shutdown(
                &self,
                timeout: ::core::time::Duration,
            ) -> ::core::result::Result<$crate::ShutdownReport, $crate::ShutdownError> {
                let $this = self;
                <$inner as $crate::Shutdown>::shutdown($to, timeout)
            }

            fn close_pool(&self) -> ::core::result::Result<(), $crate::ShutdownError> {
                let $this = self;
                <$inner as $crate::Shutdown>::close_pool($to)
            }

            fn is_shutdown(&self) -> bool {
                let $this = self;
                <$inner as $crate::Shutdown>::is_shutdown($to)
            }

            fn status(&self) -> $crate::RuntimeStatus {
                let $this = self;
                <$inner as $crate::Shutdown>::status($to)
            }
        }
    };
    (provided Spawner) => {
        #[inline]
        fn spawn<F>(&self, future: F) -> Self::Task<F::Output>
        where
            F: ::core::future::IntoFuture<
                    Output: ::core::marker::Send + 'static,
                    IntoFuture: ::core::marker::Send + 'static,
                >,
        {
            $crate::Spawner::spawn_with(self, $crate::task::Metadata::caller(), future)
        }

        fn spawn_named<F>(
            &self,
            name: impl ::core::convert::Into<$crate::__private::Name>,
            future: F,
        ) -> Self::Task<F::Output>
        where
            F: ::core::future::IntoFuture<
                    Output: ::core::marker::Send + 'static,
                    IntoFuture: ::core::marker::Send + 'static,
                >,
        {
            let metadata = $crate::task::Metadata::caller().named(name);
            $crate::Spawner::spawn_with(self, metadata, future)
        }

        #[inline]
        fn spawn_detached<F>(&self, future: F)
        where
            F: ::core::future::IntoFuture<
                    Output: ::core::marker::Send + 'static,
                    IntoFuture: ::core::marker::Send + 'static,
                >,
        {
            $crate::Spawner::spawn_detached_with(self, $crate::task::Metadata::caller(), future);
        }
    };
    (provided Timer) => {
        $crate::__provided_timer_std!();
    };
    (provided Offload) => {
        #[inline]
        fn offload<F, T>(&self, f: F) -> Self::OffloadTask<T>
        where
            F: FnOnce() -> T + ::core::marker::Send + 'static,
            T: ::core::marker::Send + 'static,
        {
            $crate::Offload::offload_with(self, $crate::task::Metadata::caller(), f)
        }

        fn offload_named<F, T>(
            &self,
            name: impl ::core::convert::Into<$crate::__private::Name>,
            f: F,
        ) -> Self::OffloadTask<T>
        where
            F: FnOnce() -> T + ::core::marker::Send + 'static,
            T: ::core::marker::Send + 'static,
        {
            let metadata = $crate::task::Metadata::caller().named(name);
            $crate::Offload::offload_with(self, metadata, f)
        }

        #[inline]
        fn try_offload<F, T>(
            &self,
            f: F,
        ) -> ::core::result::Result<Self::OffloadTask<T>, $crate::TryOffloadError<F>>
        where
            F: FnOnce() -> T + ::core::marker::Send + 'static,
            T: ::core::marker::Send + 'static,
        {
            $crate::Offload::try_offload_with(self, $crate::task::Metadata::caller(), f)
        }
    };
}

// The macros below are parts of `forward!`. A `cfg` in its own text would be decided by the features of
// the crate that calls it, so what depends on a feature of this crate is a macro of its own. It has to
// be exported, as the text of an exported macro is looked up where it is called; nobody else calls it.

/// Methods of `Spawner` that need `std`: the feature of this crate, not of the forwarding one.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_spawner_std {
    ($inner:ty, $this:ident, $to:expr) => {
        fn layers(&self) -> $crate::layer::Layers {
            let $this = self;
            <$inner as $crate::Spawner>::layers($to)
        }

        #[inline]
        fn runtime_id(&self) -> ::core::option::Option<$crate::implement::RuntimeId> {
            let $this = self;
            <$inner as $crate::Spawner>::runtime_id($to)
        }

        fn extensions(&self) -> ::core::option::Option<$crate::implement::Extensions> {
            let $this = self;
            <$inner as $crate::Spawner>::extensions($to)
        }
    };
}

/// Without `std` there is no more.
#[cfg(not(feature = "std"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_spawner_std {
    ($inner:ty, $this:ident, $to:expr) => {};
}

/// Methods of `Offload` that need `std`: the feature of this crate, not of the forwarding one.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_offload_std {
    ($inner:ty, $this:ident, $to:expr) => {
        fn offload_layers(&self) -> $crate::layer::Layers {
            let $this = self;
            <$inner as $crate::Offload>::offload_layers($to)
        }
    };
}

/// Without `std` there is no more.
#[cfg(not(feature = "std"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_offload_std {
    ($inner:ty, $this:ident, $to:expr) => {};
}

/// Methods of `Timer` that need `std`: the feature of this crate, not of the forwarding one.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_timer_std {
    ($inner:ty, $this:ident, $to:expr) => {
        fn sleep_until(&self, deadline: ::std::time::Instant) -> Self::Sleep {
            let $this = self;
            <$inner as $crate::Timer>::sleep_until($to, deadline)
        }

        fn now(&self) -> ::std::time::Instant {
            let $this = self;
            <$inner as $crate::Timer>::now($to)
        }

        fn timeout<F: ::core::future::IntoFuture>(
            &self,
            duration: ::core::time::Duration,
            future: F,
        ) -> $crate::time::Timeout<F::IntoFuture, Self::Sleep> {
            let $this = self;
            <$inner as $crate::Timer>::timeout($to, duration, future)
        }

        fn timeout_at<F: ::core::future::IntoFuture>(
            &self,
            deadline: ::std::time::Instant,
            future: F,
        ) -> $crate::time::Timeout<F::IntoFuture, Self::Sleep> {
            let $this = self;
            <$inner as $crate::Timer>::timeout_at($to, deadline, future)
        }

        // The interval keeps the timer: this one, not the one inside.
        $crate::__provided_interval_std!();
    };
}

/// Without `std` there is no more.
#[cfg(not(feature = "std"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_timer_std {
    ($inner:ty, $this:ident, $to:expr) => {};
}

/// Methods that `Timer` makes of its other methods, with `std` alone.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __provided_timer_std {
    () => {
        fn timeout<F: ::core::future::IntoFuture>(
            &self,
            duration: ::core::time::Duration,
            future: F,
        ) -> $crate::time::Timeout<F::IntoFuture, Self::Sleep> {
            $crate::__private::timeout(future, $crate::Timer::sleep(self, duration))
        }

        fn timeout_at<F: ::core::future::IntoFuture>(
            &self,
            deadline: ::std::time::Instant,
            future: F,
        ) -> $crate::time::Timeout<F::IntoFuture, Self::Sleep> {
            $crate::__private::timeout(future, $crate::Timer::sleep_until(self, deadline))
        }

        $crate::__provided_interval_std!();
    };
}

/// Without `std` there is none.
#[cfg(not(feature = "std"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __provided_timer_std {
    () => {};
}

/// The intervals that `Timer` makes of its other methods.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __provided_interval_std {
    () => {
        #[track_caller]
        fn interval(&self, period: ::core::time::Duration) -> $crate::time::Interval<Self>
        where
            Self: ::core::clone::Clone,
        {
            $crate::Timer::interval_at(self, $crate::Timer::now(self), period)
        }

        #[track_caller]
        fn interval_at(
            &self,
            start: ::std::time::Instant,
            period: ::core::time::Duration,
        ) -> $crate::time::Interval<Self>
        where
            Self: ::core::clone::Clone,
        {
            $crate::__private::interval(::core::clone::Clone::clone(self), start, period)
        }
    };
}

forward!([R: crate::Spawner] Spawner for &R as R => |this| *this);
forward!([R: crate::BlockOn] BlockOn for &R as R => |this| *this);
forward!([R: crate::Offload] Offload for &R as R => |this| *this);
forward!([R: crate::Timer] Timer for &R as R => |this| *this);
forward!([R: crate::Shutdown] Shutdown for &R as R => |this| *this);

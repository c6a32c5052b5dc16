//! Starting children whose outputs are used: [`starts_children`].

/// The three ways to start a child, for a nursery with a `sink` for each output. Used in an
/// implementation of a type with a field `nursery`.
macro_rules! starts_children {
    ($t:ident, $r:ident, $e:ident) => {
        /// As [`Nursery::spawn`].
        #[track_caller]
        pub fn spawn<F>(&self, future: F) -> $crate::Spawned<$r, $e>
        where
            F: ::std::future::Future<Output = Result<$t, $e>> + Send + 'static,
        {
            self.nursery
                .start_child($crate::child::Task(future), self.sink())
        }

        /// As [`Nursery::offload`].
        #[track_caller]
        pub fn offload<F>(&self, closure: F) -> $crate::Spawned<$r, $e>
        where
            F: FnOnce() -> Result<$t, $e> + Send + 'static,
        {
            self.nursery
                .start_child($crate::child::Closure(closure), self.sink())
        }

        /// As [`Nursery::call`].
        #[track_caller]
        pub fn call<C>(&self, call: C) -> $crate::Spawned<$r, $e>
        where
            C: ::fourway_core::Call + ::std::future::IntoFuture<Output = Result<$t, $e>>,
        {
            self.nursery
                .start_child($crate::called::Called(call), self.sink())
        }
    };
}

pub(crate) use starts_children;

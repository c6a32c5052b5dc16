//! Futures that are polled and dropped in a scope of the thread: [`scoped_future!`].

/// Writes a future `$name<F>` that polls and drops `F` while the guard from `$enter` lives. In
/// `$enter`, `$scope` is a `&mut`.
///
/// `Future` and `Pin` have to be imported where it is used.
///
/// A macro, because a type with a parameter would need a public trait for entering a scope, and
/// each future should have a name of its own.
macro_rules! scoped_future {
    ($(#[$attribute:meta])* $name:ident, $scope:ident: $type:ty => $enter:expr) => {
        pin_project_lite::pin_project! {
            $(#[$attribute])*
            #[must_use = "futures do nothing unless you `.await` or poll them"]
            pub struct $name<F> {
                // An option, so that it can be dropped in the scope.
                #[pin]
                future: Option<F>,
                $scope: $type,
            }

            impl<F> PinnedDrop for $name<F> {
                fn drop(this: Pin<&mut Self>) {
                    let mut this = this.project();
                    let $scope = this.$scope;
                    let _scope = $enter;
                    this.future.set(None);
                }
            }
        }

        impl<F: Future> Future for $name<F> {
            type Output = F::Output;

            fn poll(
                self: Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<F::Output> {
                let this = self.project();
                let $scope = this.$scope;
                let _scope = $enter;
                let future = this.future.as_pin_mut();
                future.expect("taken out only on drop").poll(cx)
            }
        }

        impl<F> std::fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field(stringify!($scope), &self.$scope)
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use scoped_future;

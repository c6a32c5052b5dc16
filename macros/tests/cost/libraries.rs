//! The same library with `#[calls]`, and written by hand.

use std::{hint::black_box, sync::Arc};

use fourway_core::{BlockOn, Call, Runtime, Spawner};
use fourway_std_thread::StdThread;

/// By the attribute.
pub(crate) mod attribute {
    use super::*;
    use fourway_macros::calls;

    #[derive(Clone)]
    pub(crate) struct Library {
        pub(crate) rt: StdThread,
        pub(crate) prefix: Arc<str>,
    }

    #[calls]
    impl Library {
        #[blocking]
        pub(crate) fn length(&self) -> usize {
            self.prefix.len()
        }

        #[blocking]
        pub(crate) fn joined(&self, text: &str) -> usize {
            self.prefix.len() + text.len()
        }

        pub(crate) async fn added(&self, number: usize) -> usize {
            self.prefix.len() + number
        }

        pub(crate) async fn all(&self, words: &[String]) -> usize {
            let mut all = 0;
            for word in words {
                all += self.added(word.len()).await;
            }
            all
        }
    }
}

/// By hand, in the form of `fourway_core::call`'s docs for a body that uses `self`, which
/// `#[calls]` also writes: a call that owns its values, and a method with the body, which borrows
/// them.
pub(crate) mod hand {
    use super::*;

    #[derive(Clone)]
    pub(crate) struct Library {
        pub(crate) rt: StdThread,
        pub(crate) prefix: Arc<str>,
    }

    impl Library {
        pub(crate) fn length(&self) -> impl Call<Output = usize> + use<> {
            let this = self.clone();
            self.rt.call_blocking(move || this.length_body())
        }

        fn length_body(&self) -> usize {
            self.prefix.len()
        }

        pub(crate) fn joined(&self, text: &str) -> impl Call<Output = usize> + use<> {
            let (this, text) = (self.clone(), text.to_owned());
            self.rt.call_blocking(move || this.joined_body(&text))
        }

        fn joined_body(&self, text: &str) -> usize {
            self.prefix.len() + text.len()
        }

        pub(crate) fn added(&self, number: usize) -> impl Call<Output = usize> + use<> {
            let this = self.clone();
            self.rt
                .call_with(async move || this.added_body(number).await)
        }

        async fn added_body(&self, number: usize) -> usize {
            self.prefix.len() + number
        }

        pub(crate) fn all(&self, words: &[String]) -> impl Call<Output = usize> + use<> {
            let (this, words) = (self.clone(), words.to_owned());
            self.rt.call_with(async move || this.all_body(&words).await)
        }

        async fn all_body(&self, words: &[String]) -> usize {
            let mut all = 0;
            for word in words {
                all += self.added(word.len()).await;
            }
            all
        }
    }
}

/// By hand, with the body in the closure: shorter if a body is a line. The compiler then makes one
/// future in place of two.
pub(crate) mod closures {
    use super::*;

    #[derive(Clone)]
    pub(crate) struct Library {
        pub(crate) rt: StdThread,
        pub(crate) prefix: Arc<str>,
    }

    impl Library {
        pub(crate) fn length(&self) -> impl Call<Output = usize> + use<> {
            let this = self.clone();
            self.rt.call_blocking(move || this.prefix.len())
        }

        pub(crate) fn joined(&self, text: &str) -> impl Call<Output = usize> + use<> {
            let (this, text) = (self.clone(), text.to_owned());
            self.rt
                .call_blocking(move || this.prefix.len() + text.len())
        }

        pub(crate) fn added(&self, number: usize) -> impl Call<Output = usize> + use<> {
            let this = self.clone();
            self.rt.call_with(async move || this.prefix.len() + number)
        }

        pub(crate) fn all(&self, words: &[String]) -> impl Call<Output = usize> + use<> {
            let (this, words) = (self.clone(), words.to_owned());
            self.rt.call_with(async move || {
                let mut all = 0;
                for word in &words {
                    all += this.added(word.len()).await;
                }
                all
            })
        }
    }
}

/// The three uses by a caller.
pub(crate) const COLUMNS: [&str; 3] = ["wait", "await", "spawn"];
/// The three libraries.
pub(crate) const WAYS: [&str; 3] = ["by hand", "by the attribute", "by hand, in closures"];

/// Calls every method `times` times; gives the difference of `count` on the caller's thread.
pub(crate) fn run(way: &str, column: &str, times: usize, count: fn() -> usize) -> usize {
    let rt = StdThread::builder().worker_threads(1).build().unwrap();
    let prefix: Arc<str> = "prefix".into();
    let words = ["one".to_owned(), "two".to_owned()];
    macro_rules! columns {
        ($library:expr) => {{
            let library = $library;
            let before = count();
            for _ in 0..times {
                let sum = match column {
                    "wait" => {
                        library.length().wait()
                            + library.joined("text").wait()
                            + library.added(1).wait()
                            + library.all(&words).wait()
                    }
                    "await" => {
                        rt.block_on(async { library.added(1).await + library.all(&words).await })
                    }
                    "spawn" => {
                        let task = rt.spawn(library.all(&words).into_future());
                        rt.block_on(task).unwrap()
                    }
                    other => panic!("no such column: {other}"),
                };
                black_box(sum);
            }
            count() - before
        }};
    }
    match way {
        "by hand" => columns!(hand::Library {
            rt: rt.clone(),
            prefix
        }),
        "by the attribute" => columns!(attribute::Library {
            rt: rt.clone(),
            prefix
        }),
        "by hand, in closures" => columns!(closures::Library {
            rt: rt.clone(),
            prefix
        }),
        other => panic!("no such way: {other}"),
    }
}

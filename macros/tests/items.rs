//! Methods that give many values, `-> Items<T>`: in every column, on every runtime.

use std::sync::Arc;

use fourway::{
    AnyRuntime,
    prelude::*,
    streams::{Items, Stream, generate},
};
use fourway_testing::{each, run};

/// A library whose methods give many values.
#[derive(Clone, Debug)]
pub struct Library<R = AnyRuntime> {
    rt: R,
    words: Arc<[String]>,
}

#[fourway::calls(mirror)]
impl<R: Runtime> Library<R> {
    /// Some words.
    pub fn new(rt: R) -> Self {
        let words = ["one", "two", "three"].map(str::to_owned).into();
        Self { rt, words }
    }

    /// An iterator that may block; it uses `self` and borrowed arguments while it is read.
    #[blocking]
    pub fn words(&self, prefix: &str) -> Items<String> {
        let (words, prefix) = (self.words.clone(), prefix.to_owned());
        (0..words.len()).map(move |index| format!("{prefix}{}", words[index]))
    }

    /// A stream, made after something was awaited.
    pub async fn lengths(&self, at_least: &usize) -> Items<usize> {
        let (first, at_least) = (self.first().await, *at_least);
        let words = self.words.clone();
        generate(async move |mut to| {
            assert_eq!(first, words[0]);
            for word in words.iter().filter(|word| word.len() >= at_least) {
                to.send(word.len()).await;
            }
        })
    }

    /// With a type of the caller's.
    #[blocking]
    pub fn repeated<T: Clone + Send + 'static>(&self, item: T, times: usize) -> Items<T> {
        std::iter::repeat_n(item, times)
    }

    /// Uses items as another caller would.
    pub async fn total(&self) -> usize {
        let (mut total, mut lengths) = (0, self.lengths(&0));
        while let Some(length) = lengths.next().await {
            total += length;
        }
        total
    }

    /// Blocking bodies have the items as well, not the body's iterator.
    #[blocking]
    pub fn all(&self) -> (Vec<String>, usize) {
        let mut words = self.words("");
        let first: Vec<_> = words.iter().take(1).collect();
        let more = words.collect().wait().len() + self.words("").into_iter().count();
        (first, more)
    }

    #[blocking]
    fn first(&self) -> String {
        self.words[0].clone()
    }
}

fn a_stream<T>(_: &impl Stream<Item = T>) {}

#[test]
fn sync_and_async_callers_and_tasks_get_the_same() {
    each(|rt| {
        let library = Library::new(rt.clone());
        let words = ["- one", "- two", "- three"];
        a_stream(&library.words("- "));
        assert_eq!(library.words("- ").into_iter().collect::<Vec<_>>(), words);
        assert_eq!(library.words("- ").collect().wait(), words);
        assert_eq!(run(&rt, library.words("- ").collect()), words);
        assert_eq!(run(&rt, library.words("- ").spawn().collect()), words);
        assert_eq!(library.lengths(&4).into_iter().collect::<Vec<_>>(), [5]);
        assert_eq!(run(&rt, library.lengths(&0).collect()), [3, 3, 5]);
        assert_eq!(run(&rt, library.lengths(&0).spawn().collect()), [3, 3, 5]);
        assert_eq!(
            library.repeated('x', 3).into_iter().collect::<String>(),
            "xxx"
        );
        assert_eq!(library.total().wait(), 11);
        assert_eq!(run(&rt, library.total()), 11);
        // The items do not borrow from the library.
        let items = Library::new(rt.clone()).words("");
        assert_eq!(items.into_iter().count(), 3);
    });
}

/// `Items` serve sync and async callers already: both mirrors have them unchanged.
#[test]
fn both_mirrors_have_the_items() {
    each(|rt| {
        let blocking = blocking::Library::new(rt.clone());
        assert_eq!(blocking.words("").into_iter().count(), 3);
        assert_eq!(blocking.total(), 11);
        let asynchronous = asynchronous::Library::from(blocking);
        let words = async { asynchronous.words("").collect().await.len() };
        assert_eq!(run(&rt, words), 3);
        assert_eq!(run(&rt, asynchronous.total()), 11);
    });
}

#[test]
fn a_blocking_body_uses_items_as_any_caller() {
    each(|rt| {
        let library = Library::new(rt.clone());
        let expected = (vec!["one".to_owned()], 5);
        assert_eq!(library.all().wait(), expected);
        assert_eq!(run(&rt, async { library.all().await }), expected);
    });
}

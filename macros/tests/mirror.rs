//! `#[calls(mirror)]`.

use std::{io, sync::Arc};

use fourway_core::{AnyRuntime, BlockOn, Call, Runtime};
use fourway_macros::calls;
use fourway_std_thread::StdThread;

/// The error of the library.
#[derive(Debug)]
pub struct Failure;

/// A library.
#[derive(Clone, Debug)]
pub struct Library<R = AnyRuntime> {
    rt: R,
    prefix: Arc<str>,
}

#[calls(mirror(blocking = sync, asynchronous = aio))]
impl<R: Runtime> Library<R> {
    /// A constructor.
    pub fn new(rt: R) -> Self {
        let prefix = "".into();
        Self { rt, prefix }
    }

    /// One that can fail.
    ///
    /// # Errors
    ///
    /// Without a prefix.
    pub fn checked(rt: R, prefix: &str) -> Result<Self, Failure> {
        match prefix {
            "" => Err(Failure),
            _ => Ok(Self::new(rt).prefix(prefix)),
        }
    }

    /// A builder's method.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// A plain one.
    pub fn length(&self) -> usize {
        self.prefix.len()
    }

    /// Blocks.
    #[blocking]
    pub fn read(&self, path: &str) -> io::Result<String> {
        Ok(format!("{}{path}", self.prefix))
    }

    /// Waits.
    pub async fn read_all(&self, paths: &[&str]) -> io::Result<Vec<String>> {
        let mut all = Vec::new();
        for path in paths {
            all.push(self.read(path).await?);
        }
        Ok(all)
    }

    /// Gives another of its kind.
    #[blocking]
    pub fn reopened(&self) -> io::Result<Self> {
        Ok(self.clone().prefix("again "))
    }

    /// A method that really differs.
    #[only(blocking)]
    pub fn print(&self, path: &str) -> String {
        self.read(path).wait().unwrap() + "!"
    }

    /// And its counterpart.
    #[only(asynchronous)]
    pub async fn watch(&self) -> usize {
        fourway_core::yield_now().await;
        self.length()
    }

    #[blocking]
    fn private(&self) -> u32 {
        1
    }
}

fn runtime() -> AnyRuntime {
    AnyRuntime::new(StdThread::builder().worker_threads(2).build().unwrap())
}

#[test]
fn both_mirrors_give_what_the_base_gives() {
    let rt = runtime();
    let base = Library::new(rt.clone()).prefix("> ");
    // The parameter can be left out.
    let blocking: sync::Library = sync::Library::new(rt.clone()).prefix("> ");
    let asynchronous: aio::Library = blocking.clone().into();
    assert_eq!(base.read("a").wait().unwrap(), blocking.read("a").unwrap());
    assert_eq!(blocking.read_all(&["b", "c"]).unwrap(), ["> b", "> c"]);
    assert_eq!(blocking.length(), 2);
    assert_eq!(blocking.print("d"), "> d!");
    assert_eq!(blocking.reopened().unwrap().read("e").unwrap(), "again e");
    assert!(sync::Library::checked(rt.clone(), "").is_err());
    rt.block_on(async {
        assert_eq!(asynchronous.read("a").await.unwrap(), "> a");
        assert_eq!(
            asynchronous.read_all(&["b", "c"]).await.unwrap(),
            ["> b", "> c"]
        );
        assert_eq!(asynchronous.watch().await, 2);
        let again = asynchronous.reopened().await.unwrap();
        assert_eq!(again.read("e").await.unwrap(), "again e");
    });
    let back: Library = asynchronous.into();
    assert_eq!(back.private().wait(), 1);
}

/// An async method borrows as an ordinary one does, and can be spawned.
#[test]
fn async_methods_are_send() {
    let rt = runtime();
    let library = aio::Library::new(rt.clone());
    let task = fourway_core::Spawner::spawn(&rt, async move { library.read("x").await.unwrap() });
    assert_eq!(rt.block_on(task).unwrap(), "x");
}

/// As with `wait`, a blocking method is refused in async code, at the caller's line.
#[test]
fn a_blocking_method_is_refused_in_async_code() {
    let rt = runtime();
    let library = sync::Library::new(rt.clone());
    let line = Arc::new(std::sync::Mutex::new(0));
    let seen = line.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *seen.lock().unwrap() = info.location().unwrap().line();
    }));
    let task = fourway_core::Spawner::spawn(&rt, async move {
        let _ = library.read("x");
    });
    let expected = line!() - 2;
    let result = rt.block_on(task);
    std::panic::set_hook(before);
    assert!(result.unwrap_err().is_panic());
    assert_eq!(*line.lock().unwrap(), expected);
}

//! A Tokio application that calls a library which was written on fourway.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, Once},
    thread::{self, ThreadId},
};

use fourway::{AnyRuntime, prelude::*};

/// A library that names no runtime.
struct Greeter<R = AnyRuntime> {
    rt: R,
}

impl<R: Runtime> Greeter<R> {
    fn read(&self) -> impl Call<Output = &'static str> + use<R> {
        self.rt.call_blocking(|| "hello from a file")
    }

    fn fetch(&self) -> impl Call<Output = &'static str> + use<R> {
        let rt = self.rt.clone();
        self.rt
            .call(async move { rt.spawn(async { "hello from afar" }).await.unwrap() })
    }
}

fn greeter() -> Greeter {
    Greeter {
        rt: fourway::default_runtime(),
    }
}

/// Where panics happened, by thread.
static PANICS: Mutex<Vec<(ThreadId, String, u32)>> = Mutex::new(Vec::new());

/// Calls `f`, which panics, and gives the message, and the file and line that the
/// panic hook was told.
fn panic_of(f: impl FnOnce()) -> (String, String, u32) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let at = info.location().expect("panics have a location");
            PANICS
                .lock()
                .unwrap()
                .push((thread::current().id(), at.file().to_owned(), at.line()));
            default(info);
        }));
    });
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic");
    let message = payload.downcast_ref::<String>().expect("a message").clone();
    let mut panics = PANICS.lock().unwrap();
    let mine = panics
        .iter()
        .rposition(|(thread, ..)| *thread == thread::current().id())
        .expect("the hook has seen it");
    let (_, file, line) = panics.remove(mine);
    (message, file, line)
}

// `tokio::test` runs its body as the root future of `Runtime::block_on`, as
// `tokio::main` does.
#[tokio::test(flavor = "multi_thread")]
async fn the_sync_api_by_mistake_panics_at_the_callers_line() {
    let greeter = greeter();
    let line = line!() + 2;
    let (message, file, at) = panic_of(|| {
        greeter.fetch().wait();
    });
    assert!(message.contains("`.await`"), "{message}");
    assert!(message.contains("`spawn_blocking`"), "{message}");
    assert_eq!((file.as_str(), at), (file!(), line));

    // The same for a blocking body, which would block the runtime as well.
    let line = line!() + 2;
    let (_, file, at) = panic_of(|| {
        greeter.read().wait();
    });
    assert_eq!((file.as_str(), at), (file!(), line));
}

#[tokio::test(flavor = "current_thread")]
async fn so_it_does_on_a_current_thread_runtime_and_in_its_tasks() {
    let task = tokio::spawn(async {
        let greeter = greeter();
        greeter.fetch().try_wait().unwrap_err()
    });
    assert!(task.await.unwrap().is_nested());
    let greeter = greeter();
    assert!(greeter.read().try_wait().unwrap_err().is_nested());
}

#[tokio::test(flavor = "multi_thread")]
async fn through_spawn_blocking_it_works() {
    let both = tokio::task::spawn_blocking(|| {
        let greeter = greeter();
        (greeter.read().wait(), greeter.fetch().wait())
    });
    assert_eq!(
        both.await.unwrap(),
        ("hello from a file", "hello from afar")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn awaited_it_works_and_starts_no_second_runtime() {
    let greeter = greeter();
    assert!(greeter.rt.type_name().ends_with("Tokio"));
    assert_eq!(greeter.read().await, "hello from a file");
    assert_eq!(greeter.fetch().await, "hello from afar");
    // Its tasks are the application's.
    let here = tokio::runtime::Handle::current().id();
    let there = greeter
        .rt
        .spawn(async { tokio::runtime::Handle::current().id() })
        .await;
    assert_eq!(there.unwrap(), here);
}

/// Shared by tests that each have a Tokio runtime of their own.
static AMBIENT: fourway::Ambient = fourway::Ambient;

async fn use_the_shared_static() {
    let here = tokio::runtime::Handle::current().id();
    let there = AMBIENT.spawn(async { tokio::runtime::Handle::current().id() });
    assert_eq!(there.await.unwrap(), here);
    let there = AMBIENT.offload(|| tokio::runtime::Handle::current().id());
    assert_eq!(there.await.unwrap(), here);
    AMBIENT.sleep(std::time::Duration::from_millis(1)).await;
}

#[tokio::test]
async fn one_test_uses_the_shared_static() {
    use_the_shared_static().await;
}

#[tokio::test]
async fn another_test_uses_the_shared_static() {
    use_the_shared_static().await;
}

/// As the two tests above, in an order that is sure; and what goes wrong with a handle.
#[test]
fn a_static_outlives_the_runtimes_that_share_it() {
    static BOUND: std::sync::OnceLock<AnyRuntime> = std::sync::OnceLock::new();
    let run = |bound_works: bool| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async move {
            use_the_shared_static().await;
            let bound = BOUND.get_or_init(fourway::default_runtime);
            assert_eq!(bound.spawn(async {}).await.is_ok(), bound_works);
        });
    };
    run(true);
    run(false);
}

//! Panics: quiet ones, and what the panic hook sees of others.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
};

/// Panics without calling the panic hook, for cases that do not test it.
pub(crate) fn panic_quietly(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// The text of a panic, and the place that the panic hook got.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) message: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// Runs `f`, which must panic on this thread, and gives the panic.
#[track_caller]
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Caught {
    install_hook();
    let before = WATCHING.replace(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    WATCHING.set(before);
    assert!(result.is_err(), "it must panic");
    SEEN.take().expect("the panic hook saw the panic")
}

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// The prefix of every marker.
const MARKER: &str = "fourway-marker-";

/// Panics with a marker that the hook has seen, and their threads.
static MARKED: Mutex<Vec<(String, ThreadId)>> = Mutex::new(Vec::new());

/// The process-wide panic hook, which concurrent cases share: it distinguishes panics by thread
/// (for [`caught`]) and by text (for [`HookWatch`]).
fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let text = text.unwrap_or_default();
            if text.starts_with(MARKER) {
                let mut marked = MARKED.lock().unwrap_or_else(PoisonError::into_inner);
                marked.push((text.to_owned(), thread::current().id()));
                return;
            }
            if !WATCHING.get() {
                return other(info);
            }
            SEEN.set(info.location().map(|location| Caught {
                message: text.to_owned(),
                file: location.file().to_owned(),
                line: location.line(),
            }));
        }));
    });
}

/// Watches the panic hook for panics with its own text.
#[derive(Clone)]
pub(crate) struct HookWatch(String);

impl HookWatch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        install_hook();
        // Relaxed: only uniqueness matters.
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{MARKER}{n}"))
    }

    /// Panics, with the panic hook.
    pub(crate) fn panic(&self) -> ! {
        std::panic::panic_any(self.0.clone())
    }

    /// The text that it panics with.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The threads on which the hook saw such a panic, one for each time.
    pub(crate) fn seen(&self) -> Vec<ThreadId> {
        let marked = MARKED.lock().unwrap_or_else(PoisonError::into_inner);
        let own = marked.iter().filter(|(text, _)| *text == self.0);
        own.map(|(_, thread)| *thread).collect()
    }
}

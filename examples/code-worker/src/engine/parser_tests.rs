//! The parser's buffer of byte code grows behind the last token, when no further token ends the parser:
//! a refusal there crashes the process, as the compiler reads what was never written.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rquickjs::{
    Context, Runtime, Value,
    allocator::{Allocator, RustAllocator},
};

use super::{Stack, end_parser_with};
use crate::memory::{Limited, Memory};

/// Code that ends where the buffer is full is compiled with room for everything but its last growth.
#[test]
fn without_memory_behind_the_last_token_code_ends() {
    at_the_edge(|code, used, growth| {
        // From nothing to all that it needs.
        for part in 0..3 {
            let room = used + growth / 2 * part;
            let _ = compile(code, Some(room), usize::MAX);
        }
    });
}

/// The same if the code must stop just then.
#[test]
fn code_that_must_stop_behind_its_last_token_ends() {
    at_the_edge(|code, _, growth| {
        compile(code, None, growth);
    });
}

/// Calls `check` with code whose buffer of byte code grows at its end or shortly before, with the memory
/// that is used at that time, and by how much the buffer grows.
fn at_the_edge(check: impl Fn(&str, usize, usize)) {
    // The byte code of a name is written when the parser has read the next token.
    let assignments = format!(",{}Map", "Map=".repeat(200));
    for (each, end) in [
        (",Map", ""),
        (",`${Map}`", ""),
        (",0", ",()=>()=>()=>Map"),
        (",0", &assignments),
    ] {
        let code = |shift: usize, count: usize| {
            format!("0{}{}{end}", ",0".repeat(shift), each.repeat(count))
        };
        let growth = |count: usize| compile(&code(0, count), None, usize::MAX).1;
        // The least count with one growth more.
        let (mut low, mut high) = (80_000, 200_000);
        let before = growth(low);
        assert!(before > LARGEST_SMALL && growth(high) > before);
        while high - low > 1 {
            let middle = low.midpoint(high);
            match growth(middle) > before {
                true => high = middle,
                false => low = middle,
            }
        }
        let (used, growth) = compile(&code(0, high), None, usize::MAX);
        for count in high - 2..=high {
            for shift in 0..4 {
                check(&code(shift, count), used, growth);
            }
        }
    }
}

/// Smaller growths have a reserve that serves other blocks, too.
const LARGEST_SMALL: usize = 128 * 1024;

/// Compiles in an engine with `limit` bytes beyond its own, or without a limit. The code must stop when a
/// block grows by `stop_at` bytes. Returns the used memory before the largest growth, and that growth.
fn compile(code: &str, limit: Option<usize>, stop_at: usize) -> (usize, usize) {
    let memory = Memory::new();
    let seen = Arc::new(Seen {
        memory: memory.clone(),
        stop_at,
        must_stop: AtomicBool::new(false),
        largest: AtomicUsize::new(0),
        used: AtomicUsize::new(0),
    });
    let allocator = Watched(Limited(memory.clone()), seen.clone());
    let runtime = Runtime::new_with_alloc(allocator).unwrap();
    let context = Context::full(&runtime).unwrap();
    let stack = context.with(|ctx| Stack::of(&ctx));
    if let Some(limit) = limit {
        memory.limit_to(limit);
    }
    let own = memory.used();
    let stops = seen.clone();
    memory.refuse_if(move || stops.must_stop.load(Ordering::Relaxed));
    end_parser_with(&memory, stack);
    context.with(|ctx| {
        let result = ctx.eval::<Value<'_>, _>(code);
        assert!(limit.is_some() || stop_at < usize::MAX || result.is_ok());
        drop(result);
        ctx.catch();
    });
    let used = seen.used.load(Ordering::Relaxed);
    (
        used.saturating_sub(own),
        seen.largest.load(Ordering::Relaxed),
    )
}

struct Seen {
    memory: Arc<Memory>,
    stop_at: usize,
    must_stop: AtomicBool,
    /// By how much a block has grown at most, and the used memory before.
    largest: AtomicUsize,
    used: AtomicUsize,
}

/// Notes how blocks grow.
struct Watched(Limited, Arc<Seen>);

#[allow(
    unsafe_code,
    reason = "the bindings' interface for allocators is unsafe to implement and to call"
)]
mod implementation {
    use super::{Allocator, Limited, Ordering, RustAllocator, Watched};

    // SAFETY: each function is that of `Limited`.
    unsafe impl Allocator for Watched {
        fn alloc(&mut self, wanted: usize) -> *mut u8 {
            self.0.alloc(wanted)
        }

        fn calloc(&mut self, count: usize, each: usize) -> *mut u8 {
            self.0.calloc(count, each)
        }

        unsafe fn dealloc(&mut self, pointer: *mut u8) {
            // SAFETY: the caller's promise is the required one.
            unsafe { self.0.dealloc(pointer) }
        }

        unsafe fn realloc(&mut self, pointer: *mut u8, wanted: usize) -> *mut u8 {
            if !pointer.is_null() {
                // SAFETY: the caller promises that it is from this allocator, so from `RustAllocator`.
                let before = unsafe { RustAllocator::usable_size(pointer) };
                let more = wanted.saturating_sub(before);
                let Self(_, seen) = self;
                if more > seen.largest.load(Ordering::Relaxed) {
                    seen.largest.store(more, Ordering::Relaxed);
                    seen.used.store(seen.memory.used(), Ordering::Relaxed);
                }
                if more >= seen.stop_at {
                    seen.must_stop.store(true, Ordering::Relaxed);
                }
            }
            // SAFETY: the caller's promise is the required one.
            unsafe { self.0.realloc(pointer, wanted) }
        }

        unsafe fn usable_size(pointer: *mut u8) -> usize {
            // SAFETY: the caller's promise is the required one.
            unsafe { Limited::usable_size(pointer) }
        }
    }
}

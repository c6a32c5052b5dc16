//! Takes the stack away from code that must stop: [`Stack`].
//!
//! The engine ignores interruptions in some of its own calls, such as the one that rejects the promise
//! of `AsyncGenerator.prototype.next`. A loop may have each check in such a call, and would go on for
//! ever. Without stack no such call begins, and the next check is in the loop itself.

use rquickjs::{Ctx, qjs};

/// The stack of one engine.
pub(crate) struct Stack(*mut qjs::JSRuntime);

#[allow(
    unsafe_code,
    reason = "the bindings' own function waits for a lock that the thread has, as the engine runs"
)]
mod implementation {
    use super::{Ctx, Stack, qjs};

    // SAFETY: the pointer is used by `take` alone, whose caller has the engine.
    unsafe impl Send for Stack {}
    // SAFETY: as above; one thread at a time has the engine.
    unsafe impl Sync for Stack {}

    impl Stack {
        pub(crate) fn of(ctx: &Ctx<'_>) -> Self {
            // SAFETY: the context is alive, as `ctx` has a reference.
            Self(unsafe { qjs::JS_GetRuntime(ctx.as_raw().as_ptr()) })
        }

        /// Leaves no stack for further calls, until the maximum is set again.
        ///
        /// # Safety
        ///
        /// The engine exists, and this thread has it: for its interrupt handler and its allocator.
        pub(in super::super) unsafe fn take(&self) {
            // SAFETY: the caller's promise. The function assigns two numbers of the runtime, which
            // the engine reads anew at each call.
            unsafe { qjs::JS_SetMaxStackSize(self.0, 1) };
        }
    }
}

//! Stores that are as wide as the loads that follow: [`in_pairs`].

#![allow(
    unsafe_code,
    reason = "the compiler chooses how wide a store is, and does not know of the load"
)]

/// `value`, of which the first `used` bytes are stored two words at a time.
///
/// A value that is put together from registers is stored word by word, and a move loads two words
/// at a time. While a store is on its way to the memory, a processor has a load of the same bytes
/// take them from there, but only if one store has all that it loads. Otherwise the load waits until
/// the stores have arrived, and so does what follows it, up to the next locked instruction. On AMD's
/// Zen 4 that takes 15 cycles and more, a tenth of a spawn and join. So a value that is moved right
/// after it was made is stored in the parts in which it will be loaded.
///
/// This does not help where the value itself was stored in parts of words a moment ago, such as a
/// future with its state of one byte: then the loads here wait.
///
/// # Safety
///
/// The rest of the value need not be initialized.
#[inline(always)]
pub(super) unsafe fn in_pairs<T>(value: T, used: usize) -> T {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
    {
        use std::mem::{ManuallyDrop, MaybeUninit, size_of};

        const PAIR: usize = 16;

        let value = ManuallyDrop::new(value);
        let mut stored = MaybeUninit::<T>::uninit();
        let mut at = 0;
        while at < used {
            assert!(at + PAIR <= size_of::<T>(), "a value is of whole pairs");
            // SAFETY: the pair is inside of the value, as was just asserted.
            let from = unsafe { (&raw const value).byte_add(at) };
            // SAFETY: and inside of its copy.
            let to = unsafe { stored.as_mut_ptr().byte_add(at) };
            // SAFETY: this loads the two words of the pair, whatever is in them, and stores them,
            // and does nothing else. (Not by intrinsics, for which they would have to be
            // initialized.)
            unsafe {
                std::arch::asm!(
                    "movq {pair}, qword ptr [{from}]",
                    "movhps {pair}, qword ptr [{from} + 8]",
                    "movups xmmword ptr [{to}], {pair}",
                    pair = out(xmm_reg) _,
                    from = in(reg) from,
                    to = in(reg) to,
                    options(nostack, preserves_flags),
                );
            }
            at += PAIR;
        }
        // SAFETY: all of the value that is in use has been copied, and the value is not used again.
        unsafe { stored.assume_init() }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(miri))))]
    {
        let _ = used;
        value
    }
}

//! Threads, descriptors and memory of the process: [`Resources`].

use std::fs;

use crate::Counting;

/// What the process uses now. For the tests of leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Its threads.
    pub threads: usize,
    /// Its open file descriptors.
    pub descriptors: usize,
    /// The bytes that are allocated and not freed, if [`Counting`] is the allocator; zero otherwise.
    pub allocated: usize,
    /// The bytes of its memory that are resident and of no file: with what the allocator keeps of
    /// freed memory, and with the stacks of threads.
    pub resident: usize,
}

impl Resources {
    /// Of this moment, after the allocator has given back the memory that it can.
    ///
    /// # Panics
    ///
    /// If `/proc` does not have them.
    #[must_use]
    pub fn now() -> Self {
        trim();
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let text = line.and_then(|line| line.split_whitespace().nth(1));
            text.and_then(|text| text.parse::<usize>().ok())
                .unwrap_or_else(|| panic!("{name} in {status}"))
        };
        Self {
            threads: number("Threads:"),
            // The folder that is read is open itself.
            descriptors: fs::read_dir("/proc/self/fd").expect("Linux").count() - 1,
            allocated: Counting::in_use(),
            resident: number("RssAnon:") * 1024,
        }
    }
}

/// Gives freed memory back to the system.
#[allow(unsafe_code, reason = "the allocator has no other interface for it")]
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` has no preconditions, and locks the allocator itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

//! The library and the program: one binary, as each takes time to link.

mod bundled;
#[cfg(unix)]
mod odd_folders;
#[cfg(unix)]
mod permissions;
mod program;
mod reasons;
mod simulated;
mod ways;

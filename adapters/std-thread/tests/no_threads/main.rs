//! The system gives no more threads: closures have their value or an error that says
//! so, nothing hangs, and all goes on once there are threads again. For a second, or
//! for as long as `FOURWAY_SOAK_SECONDS` says.

#[cfg(target_os = "linux")]
mod linux;

#[test]
fn soak_no_threads() {
    #[cfg(target_os = "linux")]
    linux::test();
    #[cfg(not(target_os = "linux"))]
    eprintln!("NOT TESTED: how to run out of threads is known for Linux only");
}

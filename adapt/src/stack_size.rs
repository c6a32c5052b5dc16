use std::io;

/// In a debug build, a thread that runs nothing of the user's needs more than 20 KiB.
const LEAST: usize = 64 * 1024;

/// Can threads have stacks of this size? Builders of runtimes ask it, because a thread whose stack
/// is too small for its first calls ends the process.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] below 64 KiB. `None` stands for the standard library's size.
///
/// # Examples
///
/// ```
/// use fourway_adapt::check_stack_size;
///
/// assert!(check_stack_size(Some(1 << 20)).is_ok());
/// assert!(check_stack_size(Some(0)).is_err());
/// ```
pub fn check_stack_size(bytes: Option<usize>) -> io::Result<()> {
    if bytes.is_some_and(|bytes| bytes < LEAST) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a thread's stack must have at least 65536 bytes: with less, the first calls on it \
             end the process",
        ));
    }
    Ok(())
}

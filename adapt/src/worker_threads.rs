use std::io;

/// A runtime may have a queue for each of its workers before it starts the first thread, and a
/// system refuses threads only when its memory is all but gone.
const MOST: usize = u16::MAX as usize;

/// Can a runtime have so many worker threads? Builders of runtimes ask it, because a number far
/// beyond what the system has ends the process, or the machine's memory, before an error comes.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] for none, and above 65,535.
///
/// # Examples
///
/// ```
/// use fourway_adapt::check_worker_threads;
///
/// assert!(check_worker_threads(4).is_ok());
/// assert!(check_worker_threads(0).is_err());
/// assert!(check_worker_threads(usize::MAX).is_err());
/// ```
pub fn check_worker_threads(threads: usize) -> io::Result<()> {
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    match threads {
        0 => invalid("a runtime needs at least 1 worker thread: with 0, no task could ever run"),
        1..=MOST => Ok(()),
        _ => invalid("a runtime has at most 65535 worker threads"),
    }
}

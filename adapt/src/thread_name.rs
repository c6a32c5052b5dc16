use std::{fmt::Display, io};

/// The part of a thread's name that systems show, in `top -H` as in a debugger: Linux keeps 15
/// bytes.
const SHOWN: usize = 15;

/// The name of a runtime's thread: `PREFIX-WHAT`, where `what` is its kind or its number.
///
/// Linux keeps 15 bytes of a name. In a longer name the prefix is cut, because it is the same on
/// all of them, and the rest tells them apart.
///
/// # Examples
///
/// ```
/// use fourway_adapt::thread_name;
///
/// assert_eq!(thread_name("web", 3), "web-3");
/// assert_eq!(thread_name("my-nice-service", "offload"), "my-nice-offload");
/// assert_eq!(thread_name("my-nice-service", 12), "my-nice-serv-12");
/// ```
#[must_use]
pub fn thread_name(prefix: &str, what: impl Display) -> String {
    let what = what.to_string();
    let mut room = prefix.len().min(SHOWN.saturating_sub(what.len() + 1));
    while !prefix.is_char_boundary(room) {
        room -= 1;
    }
    let prefix = prefix[..room].trim_end_matches(['-', '_', ' ']);
    if prefix.is_empty() {
        return what;
    }
    format!("{prefix}-{what}")
}

/// Can threads have names with this prefix? Builders of runtimes ask it, because the standard
/// library panics when it starts a thread whose name has a NUL byte.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] if the prefix has a NUL byte.
///
/// # Examples
///
/// ```
/// use fourway_adapt::check_thread_name;
///
/// assert!(check_thread_name("web").is_ok());
/// assert!(check_thread_name("web\0").is_err());
/// ```
pub fn check_thread_name(prefix: &str) -> io::Result<()> {
    if prefix.contains('\0') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a thread's name must not have a NUL byte: systems end names there",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::thread_name;

    #[test]
    fn what_tells_threads_apart_is_kept() {
        assert_eq!(thread_name("smol", 0), "smol-0");
        assert_eq!(thread_name("fourway-tokio", 0), "fourway-tokio-0");
        assert_eq!(thread_name("fourway-tokio", "offload"), "fourway-offload");
        // The cut falls on the hyphen, or into a character.
        assert_eq!(thread_name("fourway-tokio", "compute"), "fourway-compute");
        assert_eq!(thread_name("日本語", "offload"), "日本-offload");
        assert_eq!(thread_name("", 7), "7");
        assert_eq!(
            thread_name("web", "a-kind-with-a-long-name"),
            "a-kind-with-a-long-name"
        );
    }
}

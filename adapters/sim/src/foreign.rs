//! A thread that waits for something the simulation does not know, as the system describes it:
//! [`call`].

use std::{fs, path::Path};

/// The system call in which a thread waits, in words; `None` where the system does not tell.
///
/// It is only read. Where in the program the thread is, its stack alone says, and a stack can be
/// read by its own thread: it would have to be interrupted by a signal, in the middle of an
/// allocation perhaps, and unwound there, where neither an allocation nor a lock is allowed.
///
/// `stat`: the file of that name in the system's folder of the thread.
pub(crate) fn call(stat: &Path) -> Option<String> {
    let text = fs::read_to_string(stat.with_file_name("syscall"));
    let number = text.ok().and_then(|text| {
        let first = text.split_ascii_whitespace().next()?;
        first.parse::<u32>().ok()
    });
    if let Some(number) = number {
        let known = CALLS.iter().find(|(numbers, ..)| numbers.contains(&number));
        return Some(known.map_or_else(
            || format!("system call {number}"),
            |(_, name, what)| format!("`{name}`: {what}"),
        ));
    }
    // By the name of a function of the kernel.
    let text = fs::read_to_string(stat.with_file_name("wchan")).ok()?;
    let name = text.trim();
    let is_name = name.contains(|c: char| c.is_ascii_alphabetic());
    is_name.then(|| format!("`{name}`, a function of the kernel"))
}

/// Numbers, name, and what usually calls it.
type Call = (&'static [u32], &'static str, &'static str);

#[cfg(target_arch = "x86_64")]
const CALLS: &[Call] = &[
    (&[202], "futex", LOCK),
    (&[35, 230], "nanosleep", SLEEP),
    (&[0, 17, 19, 295], "read", READ),
    (&[1, 18, 20, 296], "write", WRITE),
    (&[7, 23, 270, 271], "poll", POLL),
    (&[232, 281, 441], "epoll_wait", POLL),
    (&[45, 47, 299], "recv", RECEIVE),
    (&[44, 46, 307], "send", SEND),
    (&[43, 288], "accept", ACCEPT),
    (&[42], "connect", CONNECT),
    (&[61, 247], "wait", CHILD),
    (&[72, 73], "flock", FILE_LOCK),
];

#[cfg(target_arch = "aarch64")]
const CALLS: &[Call] = &[
    (&[98], "futex", LOCK),
    (&[101, 115], "nanosleep", SLEEP),
    (&[63, 65, 67, 69], "read", READ),
    (&[64, 66, 68, 70], "write", WRITE),
    (&[72, 73], "poll", POLL),
    (&[22, 441], "epoll_wait", POLL),
    (&[207, 212, 243], "recv", RECEIVE),
    (&[206, 211, 269], "send", SEND),
    (&[202, 242], "accept", ACCEPT),
    (&[203], "connect", CONNECT),
    (&[95, 260], "wait", CHILD),
    (&[25, 32], "flock", FILE_LOCK),
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: &[Call] = &[];

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod words {
    pub(super) const LOCK: &str = "a lock, a condition, a channel, or the end of a thread";
    pub(super) const SLEEP: &str = "a sleep of the machine's time";
    pub(super) const READ: &str = "a file, a pipe or a socket to read from";
    pub(super) const WRITE: &str = "a file, a pipe or a socket to write to";
    pub(super) const POLL: &str = "sockets or pipes, or the event loop of another runtime";
    pub(super) const RECEIVE: &str = "a socket to receive from";
    pub(super) const SEND: &str = "a socket to send to";
    pub(super) const ACCEPT: &str = "a connection to a socket";
    pub(super) const CONNECT: &str = "a connection to be made";
    pub(super) const CHILD: &str = "the end of a process";
    pub(super) const FILE_LOCK: &str = "the lock of a file";
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use words::*;

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::call;

    #[test]
    fn a_call_is_told_by_its_number_and_else_by_the_kernels_function() {
        let folder = env::temp_dir().join(format!("fourway-sim-call-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let stat = folder.join("stat");
        let told = |syscall: &str, wchan: &str| {
            fs::write(folder.join("syscall"), syscall).unwrap();
            fs::write(folder.join("wchan"), wchan).unwrap();
            call(&stat)
        };
        // Without a call: it computes, or the system does not let others see.
        assert_eq!(told("running\n", "0"), None);
        let by_kernel = told("-1 0x7ffd 0x7f42\n", "futex_wait_queue");
        let by_kernel = by_kernel.unwrap();
        assert!(by_kernel.contains("futex_wait_queue"), "{by_kernel}");
        let unknown = told("9999 0x0 0x0\n", "0").unwrap();
        assert!(unknown.contains("9999"), "{unknown}");
        if cfg!(target_arch = "x86_64") {
            let futex = told("202 0x7f 0x80\n", "futex_wait_queue").unwrap();
            assert!(futex.starts_with("`futex`: a lock"), "{futex}");
        }
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(call(&stat), None);
    }
}

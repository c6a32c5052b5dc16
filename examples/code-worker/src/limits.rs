use std::time::Duration;

/// The limits of sessions and clients. Code or a client that exceeds a limit gets an error; other
/// clients are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an execution may take. One minute by default.
    pub time: Duration,
    /// How many bytes a session may use, beyond those of its engine. 64 MiB by default.
    pub memory: usize,
    /// How many bytes an execution may write. 1 MiB by default.
    pub output: usize,
    /// How many host functions a session may have running. A thousand by default.
    pub tasks: usize,
    /// How many sessions a worker may have. A thousand by default.
    pub sessions: usize,
    /// How many sessions a client may have. A hundred by default.
    pub client_sessions: usize,
    /// How many requests of a client may wait for their final reply. A thousand by default.
    pub requests: usize,
    /// How long an execution may take to end after it was asked to; then its session is given up.
    /// Ten seconds by default.
    pub grace: Duration,
    /// How long code may keep an executor's thread, where it runs in place, before that is reported:
    /// in the model `async`, and completions and inspections. It is not ended. Ten milliseconds by
    /// default.
    pub budget: Duration,
    /// How many clients a worker's socket may have at a time. 256 by default.
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            memory: 64 * 1024 * 1024,
            output: 1024 * 1024,
            tasks: 1000,
            sessions: 1000,
            client_sessions: 100,
            requests: 1000,
            grace: Duration::from_secs(10),
            budget: Duration::from_millis(10),
            clients: 256,
        }
    }
}

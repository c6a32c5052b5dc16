use std::time::Duration;

/// What a session may use. Whoever exceeds it is told, and the others notice nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an execution may take. One minute unless said otherwise.
    pub time: Duration,
    /// How many bytes a session may have, beyond what its engine takes. 64 MiB unless said
    /// otherwise.
    pub memory: usize,
    /// How many bytes an execution may write. 1 MiB unless said otherwise.
    pub output: usize,
    /// How many host functions a session may have under way. A thousand unless said otherwise.
    pub tasks: usize,
    /// How many sessions a worker may have. A thousand unless said otherwise.
    pub sessions: usize,
    /// How many of them a client may have. A hundred unless said otherwise.
    pub client_sessions: usize,
    /// How many requests of a client may wait for their final reply. A thousand unless said
    /// otherwise.
    pub requests: usize,
    /// How long an execution that is to end may take for that; then its session is given up. Ten
    /// seconds unless said otherwise.
    pub grace: Duration,
    /// How many clients a worker's socket may have at a time. 256 unless said otherwise.
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
            clients: 256,
        }
    }
}

//! The handle of a task: smol's own, wrapped to keep the contract.

/// The handle of a task.
///
/// Around `smol::Task`, with no allocation more; the first
/// [`abort_handle`](fourway_core::Task::abort_handle) or
/// [`abort`](fourway_core::Task::abort) costs one.
pub type Task<T> = fourway_adapt::async_task::AsyncTask<T>;

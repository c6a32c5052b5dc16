//! The output of bodies: [`JobOutput`].

use std::{collections, error::Error, sync::Arc, time};

/// The output of a job's body: a plain value, or a `Result`.
///
/// An error makes the job fail, and be tried again if it has a
/// [`Retry`](crate::Retry). A body whose type is not among these gives `Ok(value)`, or its type
/// implements this trait:
///
/// ```
/// use fourway_jobs::{BoxError, JobOutput};
///
/// struct Report {
///     lines: Vec<String>,
/// }
///
/// impl JobOutput for Report {
///     type Value = Self;
///
///     fn into_result(self) -> Result<Self, BoxError> {
///         Ok(self)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a job gives",
    label = "a job gives a `Result`, or a type that cannot fail",
    note = "end the body with `Ok::<_, fourway_jobs::BoxError>(value)`. The error of a `Result` is whatever turns into a `Box<dyn Error + Send + Sync>`"
)]
pub trait JobOutput: Send + 'static {
    /// The value that [`JobHandle`](crate::JobHandle) gives for a completed job.
    type Value: Send + 'static;

    /// The value, or why the job has failed.
    ///
    /// # Errors
    ///
    /// Why the job has failed.
    fn into_result(self) -> Result<Self::Value, BoxError>;
}

/// Any error of a body.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

impl<T, E> JobOutput for Result<T, E>
where
    T: Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    type Value = T;

    #[inline]
    fn into_result(self) -> Result<T, BoxError> {
        self.map_err(Into::into)
    }
}

macro_rules! values {
    ($($(#[$generics:ident])* $type:ty),* $(,)?) => {
        $(
            impl<$($generics: Send + 'static),*> JobOutput for $type {
                type Value = Self;

                #[inline]
                fn into_result(self) -> Result<Self, BoxError> {
                    Ok(self)
                }
            }
        )*
    };
}

values! {
    (), bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64,
    &'static str, String, std::path::PathBuf, time::Duration, time::Instant, time::SystemTime,
    #[T] Option<T>, #[T] Vec<T>, #[T] Box<T>, #[T] collections::VecDeque<T>,
    #[T] collections::BTreeSet<T>, #[T] collections::HashSet<T>,
    #[K] #[V] collections::BTreeMap<K, V>, #[K] #[V] collections::HashMap<K, V>,
    #[A] (A,), #[A] #[B] (A, B), #[A] #[B] #[C] (A, B, C),
}

impl<T: Send + Sync + 'static> JobOutput for Arc<T> {
    type Value = Self;

    fn into_result(self) -> Result<Self, BoxError> {
        Ok(self)
    }
}

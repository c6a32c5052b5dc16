// `Call` is sealed.
//~ is not a call
//~ `Call` is sealed

use fourway_core::{
    BlockOnError, JoinError,
    call::{Call, CallError},
    task::Metadata,
};
use std::future::{Ready, ready};

struct Mine;

impl IntoFuture for Mine {
    type Output = u32;
    type IntoFuture = Ready<u32>;

    fn into_future(self) -> Ready<u32> {
        ready(1)
    }
}

impl Call for Mine {
    type Task = Box<dyn fourway_core::Task<u32>>;
    type Fallible = Ready<Result<u32, CallError>>;

    fn fallible(self) -> Self::Fallible {
        ready(Ok(1))
    }

    fn try_wait(self) -> Result<u32, BlockOnError> {
        Ok(1)
    }

    fn spawn_with(self, _: Metadata) -> Self::Task {
        unimplemented!("{:?}", JoinError::shutdown())
    }

    fn map<U, G>(self, _: G) -> impl Call<Output = U>
    where
        G: FnOnce(u32) -> U + Send + 'static,
        U: Send + 'static,
    {
        let nothing: fourway_core::BoxCall<U> = unimplemented!();
        nothing
    }
}

fn main() {}

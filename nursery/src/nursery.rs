//! The nursery as its body sees it: [`Nursery`].

use std::{
    borrow::Cow,
    fmt,
    future::{Future, IntoFuture},
    sync::Arc,
};

use fourway_core::{
    Call, Runtime,
    cancel::{self, CancellationToken, Reason},
    values::Values,
};

use crate::{
    Builder, ChildHandle, NurseryError, NurseryHandle, Reserve, SpawnError, Spawned, StartError,
    Started,
    called::Called,
    carried::Travel,
    child::{Closure, NoSink, Sink, Task, Work, admit, refuse},
    error::Refusal,
    handle,
    label::Label,
    run::drive,
    shared::{Settings, Shared},
    start,
};

/// Runs `body` together with the children that it spawns, and returns when all have ended.
///
/// The policy is fail fast: the first failure of a child or the body cancels the rest, and the
/// nursery returns it, with all others after it. For another policy, limits and deadlines see
/// [`Nursery::builder`].
///
/// * **Awaited to its end**, it returns after every child has ended and every destructor and
///   closure of theirs has run ([no child outlives its nursery](fourway_core::contract#NU-1)).
/// * **Dropped before its first poll**, it has no children. **Dropped later**, it sets every
///   child's token and asks for its end before `drop` returns. The runtime destroys suspended
///   children promptly; polls and closures that are running end first. [`NurseryHandle::closed`]
///   resolves after the last ([dropped half-way](fourway_core::contract#NU-8)). No destructor
///   blocks.
/// * **Forgotten** (`mem::forget`), its children run on. For this reason they are `'static`. To
///   borrow, use [`scope`](crate::scope()) or [`sync_nursery`](crate::sync_nursery()).
/// * **In a child or the body of another nursery**, it holds the outer nursery open until its own
///   children have ended, also if it was dropped. If it is dropped because the outer one drops its
///   children, [shields](crate::shield()) hold in it as they do there. No caller can take its
///   failures after that; but a panic becomes a failure of the outer nursery. If it is forgotten,
///   its failures are lost; and if that happens before its body has ended, both never end.
///
/// # Errors
///
/// See [`NurseryError`]. A panic of the body or of a child is a failure as any other, with its
/// payload kept ([a panic cancels when it happens](fourway_core::contract#NU-4)).
///
/// # Cancel safety
///
/// See above: dropping the future cancels the children, and does not wait for them.
///
/// # Boxed errors
///
/// With an error type that names a trait object, such as `Box<dyn Error + Send + Sync>`, the
/// compiler does not see that a future with the nursery in it is `Send`, and says that
/// "implementation of `AsyncFnOnce` is not general enough" where it is spawned or boxed. A wrapper
/// type helps, such as `anyhow::Error`. [`Builder::run_owned`] does not have the problem:
///
/// ```
/// use std::error::Error;
/// use fourway_core::{Runtime, Spawner};
/// use fourway_nursery::Nursery;
///
/// fn in_background<R: Runtime>(rt: &R) -> R::Task<bool> {
///     let runtime = rt.clone();
///     rt.spawn(async move {
///         let ended = Nursery::<R, Box<dyn Error + Send + Sync>>::builder(&runtime)
///             .run_owned(|n| async move {
///                 n.spawn(async { Ok(()) })?;
///                 Ok("1".parse::<u32>()?)
///             })
///             .await;
///         ended.is_ok()
///     })
/// }
/// ```
///
/// # Examples
///
/// ```
/// use std::io;
/// use fourway_core::Runtime;
/// use fourway_nursery::{NurseryError, nursery};
///
/// async fn both<R: Runtime>(rt: &R) -> Result<u32, NurseryError<io::Error>> {
///     nursery(rt, async |n| {
///         let size = n.offload_handle(|| Ok(std::fs::metadata("/")?.len()));
///         n.spawn(async { Ok(()) });
///         match size.await {
///             Ok(_) => Ok(1),
///             Err(_) => Ok(0), // its error is the nursery's
///         }
///     })
///     .await
/// }
/// ```
pub async fn nursery<R, T, E>(
    runtime: &R,
    body: impl AsyncFnOnce(&Nursery<R, E>) -> Result<T, E>,
) -> Result<T, NurseryError<E>>
where
    R: Runtime,
    E: Send + 'static,
{
    // The builder's `run` without a builder, which would be moved about.
    let (nursery, values) = Nursery::open(runtime);
    let ended = drive(&nursery, values, async { body(&nursery).await }).await;
    ended.verdict(&nursery.shared)
}

/// A nursery, as its body sees it.
///
/// Children are spawned without a handle, and then leave nothing behind when they finish; or with
/// one (`spawn_handle`, …), for the result; or through [`results`](Self::results), which gives the
/// results one by one as the children finish.
///
/// | the child is | spawned by | with a handle | unless all places are taken |
/// |---|---|---|---|
/// | a future | [`spawn`](Self::spawn) | [`spawn_handle`](Self::spawn_handle) | [`try_spawn`](Self::try_spawn) |
/// | a closure that may block | [`offload`](Self::offload) | [`offload_handle`](Self::offload_handle) | [`try_offload`](Self::try_offload) |
/// | a [`Call`], by the kind of its body | [`call`](Self::call) | [`call_handle`](Self::call_handle) | [`try_call`](Self::try_call) |
///
/// Values, the current token and with it the deadline travel into each child ([values travel with
/// the work](fourway_core::contract#CX-3)), unless it is spawned [without
/// context](Self::without_context).
pub struct Nursery<R: Runtime, E> {
    pub(crate) shared: Arc<Shared<R, E>>,
    travel: Travel,
    label: Label,
}

impl<R: Runtime, E: Send + 'static> Nursery<R, E> {
    /// A nursery with a policy, a limit, a deadline or a grace period.
    pub fn builder(runtime: &R) -> Builder<'_, R, E> {
        Builder::new(runtime)
    }

    /// A nursery with the default settings, and the values of its body.
    fn open(runtime: &R) -> (Self, Values) {
        let token = cancel::try_current().map(|token| token.child());
        Self::new(Shared::open(
            runtime,
            token,
            usize::MAX,
            Settings::default(),
        ))
    }

    pub(crate) fn new((shared, of_body): (Arc<Shared<R, E>>, Values)) -> (Self, Values) {
        let nursery = Self {
            shared,
            travel: Travel::All,
            label: Label::default(),
        };
        (nursery, of_body)
    }

    /// Starts `future` as a child: at once, or when a place of the [limit](Builder::limit) is
    /// free.
    ///
    /// The child belongs to the nursery from this call on, whatever happens to the returned value.
    /// To await that value waits until the child has been started, so that a body need not run
    /// ahead of its children. In a nursery that is being cancelled the future is dropped, and
    /// counted as cancelled.
    ///
    /// The child runs on the runtime's threads, as a task.
    #[track_caller]
    pub fn spawn<F, T>(&self, future: F) -> Spawned<R, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.start_child(Task(future), NoSink)
    }

    /// Starts a closure that may block as a child. Otherwise as [`spawn`](Self::spawn).
    ///
    /// It runs on the runtime's offload pool. Its token is the current one:
    /// [`cancel::check()?`](fourway_core::cancel::check) in it ends it when the nursery is
    /// cancelled. Once started it is never abandoned: the nursery waits for it.
    #[track_caller]
    pub fn offload<F, T>(&self, closure: F) -> Spawned<R, E>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        self.start_child(Closure(closure), NoSink)
    }

    /// Starts a [`Call`] as a child, where its body belongs: an async one as a task, one that
    /// may block on its runtime's pool. Otherwise as [`spawn`](Self::spawn).
    ///
    /// A body that may block runs to its end once it has begun, and the nursery waits for it,
    /// also if it is a part of a chain ([`then`](Call::then)), of a call with a
    /// [`timeout`](Call::timeout) or of several, and if a child awaits it. If such a call is
    /// cancelled, it counts as cancelled, or as the panic of the part that was running.
    #[track_caller]
    pub fn call<C, T>(&self, call: C) -> Spawned<R, E>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
    {
        self.start_child(Called(call), NoSink)
    }

    /// [`spawn`](Self::spawn), with a handle for the output. One allocation.
    #[track_caller]
    pub fn spawn_handle<F, T>(&self, future: F) -> ChildHandle<T, R, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let (sink, handle) = handle::pair(&self.shared);
        self.start_child(Task(future), sink);
        handle
    }

    /// [`offload`](Self::offload), with a handle for the output.
    #[track_caller]
    pub fn offload_handle<F, T>(&self, closure: F) -> ChildHandle<T, R, E>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        let (sink, handle) = handle::pair(&self.shared);
        self.start_child(Closure(closure), sink);
        handle
    }

    /// [`call`](Self::call), with a handle for the output.
    #[track_caller]
    pub fn call_handle<C, T>(&self, call: C) -> ChildHandle<T, R, E>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
    {
        let (sink, handle) = handle::pair(&self.shared);
        self.start_child(Called(call), sink);
        handle
    }

    /// [`spawn`](Self::spawn), unless all places are taken.
    ///
    /// # Errors
    ///
    /// Gives `future` back, unpolled, if no place is free or the nursery is being cancelled.
    #[track_caller]
    pub fn try_spawn<F, T>(&self, future: F) -> Result<(), SpawnError<F>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.try_child(Task(future))
            .map_err(|refused| refused.map(|work| work.0))
    }

    /// [`offload`](Self::offload), unless all places are taken.
    ///
    /// # Errors
    ///
    /// Gives `closure` back, unrun, if no place is free or the nursery is being cancelled.
    #[track_caller]
    pub fn try_offload<F, T>(&self, closure: F) -> Result<(), SpawnError<F>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        self.try_child(Closure(closure))
            .map_err(|refused| refused.map(|work| work.0))
    }

    /// [`call`](Self::call), unless all places are taken.
    ///
    /// # Errors
    ///
    /// Gives `call` back, unused, if no place is free or the nursery is being cancelled.
    #[track_caller]
    pub fn try_call<C, T>(&self, call: C) -> Result<(), SpawnError<C>>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
    {
        self.try_child(Called(call))
            .map_err(|refused| refused.map(|work| work.0))
    }

    /// Waits for a place of the limit before there is a child for it.
    ///
    /// Places are given in the order of the requests, to callers that wait here and to children in
    /// line alike. If this is dropped while it waits, or just when the place is granted, it passes
    /// the place on.
    pub fn reserve(&self) -> Reserve<R, E> {
        Reserve::new(self.shared.clone(), self.travel.clone(), self.label.clone())
    }

    /// Starts a child, and waits until it says that it is ready.
    ///
    /// `body` gets a [`Started`], and calls [`ready`](Started::ready) with a value when its
    /// start-up is complete; then it goes on as a child.
    ///
    /// Until then the child belongs to the caller as well as to the nursery: if this future is
    /// dropped, or the work around it cancelled, the child is cancelled; its failure goes to
    /// the caller and not to the nursery. Neither cancels the other.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the child failed, was cancelled, or ended before it was ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the child was ready cancels the child, and does not wait for
    /// it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fourway_nursery::{Nursery, Started};
    /// # use fourway_core::AnyRuntime;
    /// async fn serve(n: &Nursery<AnyRuntime, std::io::Error>) {
    ///     let port = n.start(async |started: Started<u16>| {
    ///         let port = 8080; // bind
    ///         if started.ready(port).is_err() {
    ///             return Ok(()); // nobody waits for it any more
    ///         }
    ///         Ok(()) // accept
    ///     });
    ///     assert_eq!(port.await.unwrap(), 8080);
    /// }
    /// ```
    #[track_caller]
    pub fn start<V, B, F, T>(
        &self,
        body: B,
    ) -> impl Future<Output = Result<V, StartError<E>>> + use<'_, V, B, F, T, R, E>
    where
        B: FnOnce(Started<V>) -> F,
        F: Future<Output = Result<T, E>> + Send + 'static,
        V: Send + 'static,
        T: Send + 'static,
    {
        // The line is taken here, as an `async fn` does not know its caller.
        start::start(&self.shared, self.label.caller(), &self.travel, body)
    }

    /// Runs `future` to its end even if the nursery is cancelled meanwhile: see
    /// [`shield`](crate::shield), which is this for children too.
    pub fn shield<F: Future>(&self, future: F) -> crate::Shield<F> {
        crate::shield(future)
    }

    /// Gives outputs one by one, as the children finish that are spawned through the returned
    /// value.
    #[must_use]
    pub fn results<T: Send + 'static>(&self) -> crate::Results<T, R, E> {
        crate::Results::new(self.again())
    }

    /// This nursery for children with a name. Layers and the simulator see the name, and the
    /// [`JoinError`](fourway_core::JoinError)s of children that panic show it.
    ///
    /// Each child that is spawned through it has the name and its own number. Children without a
    /// name pay nothing for it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fourway_core::Runtime;
    /// # use fourway_nursery::{NurseryError, nursery};
    /// async fn index<R: Runtime>(rt: &R) -> Result<(), NurseryError<String>> {
    ///     nursery(rt, async |n| {
    ///         for shard in 0..8 {
    ///             n.named(format!("shard-{shard}")).spawn(async { Ok(()) });
    ///         }
    ///         Ok(())
    ///     })
    ///     .await // the task `shard-3` (#4, src/main.rs:4:45) panicked: …
    /// }
    /// ```
    #[must_use]
    pub fn named(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            label: Label::new(name),
            ..self.again()
        }
    }

    /// This nursery for children without context: no values, no current token, no span. They are
    /// dropped when the nursery is cancelled as all others are, but
    /// [`cancel::check`](fourway_core::cancel::check) in them says nothing.
    ///
    /// It does not keep the nursery open: work that is spawned through it after the nursery's end
    /// is dropped.
    #[must_use]
    pub fn without_context(&self) -> Self {
        Self {
            travel: Travel::nothing(&self.shared),
            ..self.again()
        }
    }

    /// Cancels the children and the body: the nursery ends with what it has.
    ///
    /// That is not an error: if the body gives a value, so does the nursery. As always, children
    /// are asked first and dropped after the grace period.
    pub fn cancel(&self) {
        self.shared.cancel(&Reason::NotNeeded);
    }

    /// The token of the nursery's children, and of its body. Cancelling it cancels the nursery
    /// as if from outside: with an error, if it cuts anything short.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        self.shared.token()
    }

    /// Changes the limit. A higher one starts waiting children, in order; a lower one takes effect
    /// as children end.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn set_limit(&self, limit: usize) {
        assert!(
            limit > 0,
            "a nursery with a limit of zero would start nothing"
        );
        self.shared.set_limit(limit);
    }

    /// How many children have not ended, those in line among them. The body counts as one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.live()
    }

    /// Always `false`: the body counts, and only the body can ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A handle for children, for other threads, and for knowing when all is over.
    #[must_use]
    pub fn handle(&self) -> NurseryHandle<R, E> {
        NurseryHandle::new(self.again())
    }

    /// The runtime on which the children run.
    #[must_use]
    pub fn runtime(&self) -> &R {
        &self.shared.runtime
    }

    #[track_caller]
    fn try_child<T, W>(&self, work: W) -> Result<(), SpawnError<W>>
    where
        W: Work<R, T, E>,
        T: Send + 'static,
    {
        if self.shared.is_inherited() {
            let refusal = Refusal::Closed;
            return Err(SpawnError { refusal, work });
        }
        let metadata = self.label.caller();
        match admit(&self.shared, work, metadata, NoSink, &self.travel, false) {
            Ok(_) => Ok(()),
            Err(refused) => Err(refused.map(|(work, _)| work)),
        }
    }

    /// Starts a child or puts it in line; after the nursery's end, while it is being cancelled, or
    /// in a forked child, gives it back.
    #[track_caller]
    pub(crate) fn child<T, W, S>(
        &self,
        work: W,
        sink: S,
    ) -> Result<Spawned<R, E>, SpawnError<(W, S)>>
    where
        W: Work<R, T, E>,
        S: Sink<R, T, E>,
        T: Send + 'static,
    {
        if self.shared.is_inherited() {
            return Err(SpawnError {
                refusal: Refusal::Closed,
                work: (work, sink),
            });
        }
        let metadata = self.label.caller();
        let number = admit(&self.shared, work, metadata, sink, &self.travel, true)?;
        Ok(Spawned::new(&self.shared, number))
    }

    /// [`child`](Self::child) for callers that cannot outlive the nursery: a refused child is
    /// counted as cancelled. In a forked child it is only destroyed: the nursery of the body says
    /// in the end that it is the parent's.
    #[track_caller]
    pub(crate) fn start_child<T, W, S>(&self, work: W, sink: S) -> Spawned<R, E>
    where
        W: Work<R, T, E>,
        S: Sink<R, T, E>,
        T: Send + 'static,
    {
        match self.child(work, sink) {
            Ok(spawned) => spawned,
            Err(refused) => {
                let (work, sink) = refused.work;
                refuse(&self.shared, work, &self.label.caller(), sink, &self.travel);
                Spawned::new(&self.shared, None)
            }
        }
    }
}

impl<R: Runtime, E> Nursery<R, E> {
    /// The same nursery. Not `Clone`, because a clone could be taken out of the body, where its
    /// methods have no way to refuse. The handle is made for that.
    pub(crate) fn again(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            travel: self.travel.clone(),
            label: self.label.clone(),
        }
    }
}

impl<R: Runtime, E> fmt::Debug for Nursery<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

//! Messages to a client: a queue with backpressure, and the questions that wait for an answer.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use crate::{
    error::CellError,
    protocol::{Answer, Reply},
};

/// Beyond this many bytes of output, writers must wait.
pub(crate) const HIGH_WATER: usize = 256 * 1024;

/// Beyond this many bytes of final replies, no more requests are read from the client. Output and
/// prompts do not count: an interrupt request must get through.
const HIGH_WATER_OF_REPLIES: usize = 256 * 1024;
/// Beyond this many bytes there is no more output and no prompt, and only short replies, which say
/// so.
pub(crate) const MOST: usize = 16 * 1024 * 1024;
/// The length of a short reply.
const SHORT: usize = 1024;

/// A client's queue. A clone is the same queue.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    queue: VecDeque<(Answer, usize)>,
    bytes: usize,
    // The bytes of final replies among them.
    replies: usize,
    closed: bool,
    // The client sends nothing more.
    silent: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
    questions: HashMap<u64, Question>,
    next: u64,
}

impl State {
    /// The caller wakes the returned waker once it has released the lock.
    #[must_use]
    fn add(&mut self, answer: Answer, size: usize) -> Option<Waker> {
        self.bytes += size;
        if answer.reply.is_final() {
            self.replies += size;
        }
        self.queue.push_back((answer, size));
        self.reader.take()
    }
}

#[derive(Default)]
struct Question {
    answer: Option<String>,
    waker: Option<Waker>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("Outbox")
            .field("waiting", &state.queue.len())
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message. Never waits: a caller that writes much awaits [`ready`](Self::ready) in
    /// between.
    ///
    /// If the client has not read sixteen megabytes, an error named `OutputLimit` replaces a long
    /// final reply.
    pub fn push(&self, id: Option<u64>, mut reply: Reply) {
        let mut size = reply.weight();
        let mut state = self.state();
        if state.closed {
            return;
        }
        if size > SHORT && state.bytes + size > MOST && reply.is_final() {
            let message = format!("more than {MOST} bytes wait to be read; the reply is left out");
            reply = Reply::Error(CellError::new("OutputLimit", message));
            size = reply.weight();
        }
        let waker = state.add(Answer { id, reply }, size);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Is there more than enough to send?
    #[must_use]
    pub fn is_full(&self) -> bool {
        let state = self.state();
        state.bytes > HIGH_WATER && !state.closed
    }

    /// About how many bytes wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().bytes
    }

    /// Is there so much that no more output may come?
    pub(crate) fn is_overfull(&self) -> bool {
        let state = self.state();
        state.bytes > MOST && !state.closed
    }

    /// Waits until there is room for replies to more requests, or the reader is gone.
    pub fn ready_for_requests(&self) -> impl Future<Output = ()> + Send + use<> {
        self.ready_if(|state| state.replies <= HIGH_WATER_OF_REPLIES)
    }

    /// Waits until there is room, or the reader is gone.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        self.ready_if(|state| state.bytes <= HIGH_WATER)
    }

    fn ready_if(&self, has_room: fn(&State) -> bool) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        poll_fn(move |cx| {
            let waker = cx.waker().clone();
            let mut state = this.state();
            if has_room(&state) || state.closed {
                return Poll::Ready(());
            }
            state.writers.push(waker);
            Poll::Pending
        })
    }

    /// The next message; `None` once the outbox is closed and empty.
    pub fn pop(&self) -> impl Future<Output = Option<Answer>> + Send + use<> {
        let this = self.clone();
        poll_fn(move |cx| {
            let waker = cx.waker().clone();
            let mut state = this.state();
            if let Some((answer, size)) = state.queue.pop_front() {
                state.bytes -= size;
                if answer.reply.is_final() {
                    state.replies -= size;
                }
                // Waiters for room for requests check again, and wait again.
                let has_room = state.bytes <= HIGH_WATER
                    || (state.replies <= HIGH_WATER_OF_REPLIES
                        && state.replies + size > HIGH_WATER_OF_REPLIES);
                let writers = if has_room {
                    std::mem::take(&mut state.writers)
                } else {
                    Vec::new()
                };
                drop(state);
                writers.into_iter().for_each(Waker::wake);
                return Poll::Ready(Some(answer));
            }
            if state.closed {
                return Poll::Ready(None);
            }
            let before = state.reader.replace(waker);
            drop(state);
            drop(before);
            Poll::Pending
        })
    }

    /// The client sends nothing more, so questions of code fail.
    pub fn expect_no_answers(&self) {
        let mut state = self.state();
        state.silent = true;
        let questions = state.questions.values_mut();
        let wakers: Vec<Waker> = questions.filter_map(|q| q.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Is there no reader?
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// There are no more writers; or the reader is gone, and then no writer waits.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let mut wakers = std::mem::take(&mut state.writers);
        wakers.extend(state.reader.take());
        let questions = state.questions.values_mut();
        wakers.extend(questions.filter_map(|question| question.waker.take()));
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Asks the client, and waits for its answer. It fails if there is no client, or if the client
    /// has not read sixteen megabytes.
    pub fn ask(
        &self,
        id: u64,
        prompt: String,
    ) -> impl Future<Output = Result<String, String>> + Send + use<> {
        let asked = self.put_question(id, prompt);
        poll_fn(move |cx| {
            let nobody = || Poll::Ready(Err("nobody is there to answer".to_owned()));
            let Some(asked) = &asked else {
                let message = format!("more than {MOST} bytes wait to be read; nothing is asked");
                return Poll::Ready(Err(message));
            };
            let waker = cx.waker().clone();
            let mut state = asked.outbox.state();
            let nobody_answers = state.closed || state.silent;
            // The question is there until `asked` is dropped.
            let Some(question) = state.questions.get_mut(&asked.request) else {
                return nobody();
            };
            if let Some(answer) = question.answer.take() {
                return Poll::Ready(Ok(answer));
            }
            if nobody_answers {
                return nobody();
            }
            let before = question.waker.replace(waker);
            drop(state);
            drop(before);
            Poll::Pending
        })
    }

    /// Adds a question to the queue; `None` if too much waits there already. (An error in its place
    /// would be the final reply of an execution that goes on.)
    fn put_question(&self, id: u64, prompt: String) -> Option<Asked> {
        let mut state = self.state();
        state.next += 1;
        let request = state.next;
        let reply = Reply::InputRequest { request, prompt };
        let size = reply.weight();
        let mut waker = None;
        if !state.closed && !state.silent {
            if state.bytes + size > MOST {
                return None;
            }
            let id = Some(id);
            waker = state.add(Answer { id, reply }, size);
        }
        state.questions.insert(request, Question::default());
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Some(Asked {
            outbox: self.clone(),
            request,
        })
    }

    /// Answers. `false` if no question waits for it.
    #[must_use]
    pub fn answer(&self, request: u64, text: String) -> bool {
        let mut state = self.state();
        let Some(question) = state.questions.get_mut(&request) else {
            return false;
        };
        question.answer = Some(text);
        let waker = question.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }
}

struct Asked {
    outbox: Outbox,
    request: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let gone = self.outbox.state().questions.remove(&self.request);
        drop(gone);
    }
}

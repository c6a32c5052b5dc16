//! The limits of the machine: the primitives that every runtime uses. A figure close to these
//! cannot become much better.

use std::{
    alloc::{Layout, alloc, dealloc},
    cell::{Cell, OnceCell},
    future::Future,
    hint::{black_box, spin_loop},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Waker},
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use super::{
    block_on::ready,
    measured, plain,
    round_trip::{self, Paced},
};
use crate::{
    operation::{Contender, Operation},
    peers::Started,
};

const SECTION: &str = "What the machine allows";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "to another thread and back", 2_000, |_| {
            Ok(vec![
                contender(Wait::Looking, back_to_back),
                contender(Wait::Asleep, back_to_back),
            ])
        })
        .lead()
        .note("two threads, one word that says whose turn it is, and nothing else"),
        paced("to another thread and back, each millisecond", false),
        paced("to another thread and back, cores busy", true),
        Operation::new(SECTION, "on one thread", 1_000_000, |_| Ok(on_one_thread()))
            .note("a piece of memory of 176 bytes is what a small task takes"),
    ]
}

fn paced(name: &'static str, busy: bool) -> Operation {
    Operation::new(SECTION, name, 200, move |_| {
        let load = move |pair: &Pair, times| Paced { busy }.around(times, || pair.paced(times));
        Ok(vec![contender(Wait::Asleep, load)])
    })
    .metrics(if busy {
        round_trip::BUSY_METRICS
    } else {
        round_trip::COLD_METRICS
    })
}

fn contender(wait: Wait, run: impl Fn(&Pair, u32) -> Vec<f64> + 'static) -> Contender {
    let name = match wait {
        Wait::Looking => "looking all the time",
        Wait::Asleep => "park and unpark",
    };
    let asleep = OnceCell::new();
    measured(
        Started::new(name, false, wait, ()),
        move |wait, times| match wait {
            // The partner uses a processor as long as it exists.
            Wait::Looking => run(&Pair::start(*wait), times),
            Wait::Asleep => run(asleep.get_or_init(|| Pair::start(*wait)), times),
        },
    )
}

fn back_to_back(pair: &Pair, times: u32) -> Vec<f64> {
    let start = Instant::now();
    for _ in 0..times {
        pair.there_and_back();
    }
    vec![start.elapsed().as_nanos() as f64 / f64::from(times)]
}

#[derive(Clone, Copy)]
enum Wait {
    Looking,
    Asleep,
}

impl Wait {
    fn until(self, turn: &AtomicU32, ready: impl Fn(u32) -> bool) -> u32 {
        loop {
            let now = turn.load(Ordering::Acquire);
            if ready(now) {
                return now;
            }
            match self {
                Self::Looking => spin_loop(),
                Self::Asleep => thread::park(),
            }
        }
    }

    fn pass(self, turn: &AtomicU32, next: u32, to: &Thread) {
        turn.store(next, Ordering::Release);
        if let Self::Asleep = self {
            to.unpark();
        }
    }
}

/// Whose turn is it?
const CALLER: u32 = 0;
const PARTNER: u32 = 1;
const OVER: u32 = 2;

struct Pair {
    wait: Wait,
    turn: Arc<AtomicU32>,
    partner: Option<JoinHandle<()>>,
}

impl Pair {
    fn start(wait: Wait) -> Self {
        let turn = Arc::new(AtomicU32::new(CALLER));
        let caller = thread::current();
        let partner = thread::spawn({
            let turn = turn.clone();
            move || {
                while wait.until(&turn, |turn| turn != CALLER) == PARTNER {
                    wait.pass(&turn, CALLER, &caller);
                }
            }
        });
        Self {
            wait,
            turn,
            partner: Some(partner),
        }
    }

    fn pass(&self, next: u32) {
        if let Some(partner) = &self.partner {
            self.wait.pass(&self.turn, next, partner.thread());
        }
    }

    fn there_and_back(&self) {
        self.pass(PARTNER);
        self.wait.until(&self.turn, |turn| turn == CALLER);
    }

    fn paced(&self, times: u32) -> Vec<Duration> {
        let call = |_| {
            thread::sleep(round_trip::PAUSE);
            let start = Instant::now();
            self.there_and_back();
            start.elapsed()
        };
        (0..times).map(call).collect()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.pass(OVER);
        if let Some(partner) = self.partner.take() {
            let _ = partner.join();
        }
    }
}

fn on_one_thread() -> Vec<Contender> {
    thread_local! {
        static WORD: Cell<u64> = const { Cell::new(0) };
    }

    vec![
        plain("allocate and free", false, |times| {
            let layout = Layout::new::<[u64; 22]>();
            for _ in 0..times {
                #[allow(unsafe_code, reason = "what `Box` does, without filling it")]
                // SAFETY: the layout is not empty; the allocation is freed once, with the same
                // layout. (Freeing a null pointer, if there is no memory, is not allowed.)
                unsafe {
                    let memory = black_box(alloc(layout));
                    assert!(!memory.is_null(), "out of memory");
                    dealloc(memory, layout);
                }
            }
        }),
        plain("lock and unlock", false, |times| {
            let number = Mutex::new(0_u64);
            for _ in 0..times {
                if let Ok(mut number) = black_box(&number).lock() {
                    *number += 1;
                }
            }
        }),
        plain("look at the clock", false, |times| {
            for _ in 0..times {
                black_box(Instant::now());
            }
        }),
        plain("set a thread-local and back", false, |times| {
            for _ in 0..times {
                let before = WORD.replace(black_box(1));
                black_box(());
                WORD.set(before);
            }
        }),
        plain("poll a ready future", false, |times| {
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..times {
                black_box(pin!(ready()).poll(&mut context).is_ready());
            }
        }),
    ]
}

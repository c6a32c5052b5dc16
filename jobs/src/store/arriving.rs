//! Jobs come in by the [inbox](crate::inbox).

use std::{collections::VecDeque, mem};

use super::{Store, record::Record};
use crate::{
    JobState,
    inbox::{Arrived, Block, KEPT},
};

impl Store {
    /// Moves all arrived jobs in; `true` if there were any. Each holder of the lock does that first,
    /// except a dispatcher.
    #[inline]
    pub(crate) fn bring_in(&mut self) -> bool {
        let has_any = self.is_open && (!self.arriving.is_empty() || self.inbox.has_any());
        has_any && self.bring_in_all()
    }

    fn bring_in_all(&mut self) -> bool {
        self.accept(usize::MAX);
        // At once, and not block by block: submitters that are quicker than this thread would keep
        // it here.
        let blocks = self.inbox.take(mem::take(&mut self.arriving));
        self.accept_all(blocks);
        true
    }

    /// A dispatcher looks for a job: moves the arrived ones in if one of them might go before those
    /// in line, or if somebody waits for what depends on their number.
    pub(super) fn bring_in_pressing(&mut self) {
        let is_pressing = self.inbox.is_pressing()
            || !self.room.is_empty()
            || !self.idle.is_empty()
            || !self.queue.is_before_later_ones();
        if is_pressing {
            self.bring_in();
        }
    }

    /// A dispatcher found no job in line: moves the next of the arrived ones in; `true` if there
    /// were any. It takes a few: their records are made shortly before their jobs run, and the lock
    /// is not held for as long as a backlog takes.
    pub(super) fn bring_in_next(&mut self) -> bool {
        // Models have few jobs.
        const BATCH: usize = if cfg!(fourway_shuttle) { 1 } else { 64 };
        if !self.is_open {
            return false;
        }
        #[cfg(test)]
        {
            self.parts += 1;
        }
        if self.arriving.is_empty() {
            if !self.inbox.has_any() {
                return false;
            }
            match self.inbox.take_block(mem::take(&mut self.arriving)) {
                Some(block) => self.arriving = block,
                None => return self.bring_in_all(),
            }
        }
        self.accept(BATCH)
    }

    /// Closes the inbox: from here on each job goes directly to the store. Jobs that had arrived
    /// are moved in; `true` if there were any.
    pub(super) fn close_inbox(&mut self) -> bool {
        if !mem::replace(&mut self.is_open, false) {
            return false;
        }
        let had_some = self.accept(usize::MAX);
        let blocks = self.inbox.close(mem::take(&mut self.arriving));
        let any = had_some || !blocks.is_empty();
        self.accept_all(blocks);
        any
    }

    /// Opens the inbox if a new job only has to be put in line: there is no subscriber, and all
    /// dispatchers are at work. Each dispatcher looks into the inbox before it ends.
    pub(super) fn open_inbox(&mut self) {
        let needs_nothing = self.dispatchers >= self.settings.dispatchers
            && !self.closed
            && !self.paused
            && self.settings.history == 0
            && self.subscribers.is_empty();
        if needs_nothing {
            self.is_open = true;
            self.inbox.open(self.room_left());
        }
    }

    fn accept_all(&mut self, blocks: VecDeque<Block>) {
        for block in blocks {
            self.arriving = block;
            self.accept(usize::MAX);
        }
    }

    /// Moves the first of the taken jobs in, so many at most; `true` if there were any.
    fn accept(&mut self, at_most: usize) -> bool {
        let count = at_most.min(self.arriving.len());
        if count == 0 {
            return false;
        }
        let class = self.queue.default_class();
        let Self {
            arriving,
            queue,
            records,
            ..
        } = self;
        for Arrived { id, new, at } in arriving.drain(..count) {
            let number = id.number();
            let entry = (number, 0);
            queue.push(class, None, new.priority, at.watch, entry);
            records.insert(number, || {
                let mut record = Record::new(new);
                (record.id, record.class) = (id, class);
                record
            });
        }
        if self.arriving.is_empty() && self.arriving.capacity() > KEPT {
            // Returns the memory of a burst.
            self.arriving = Block::new();
        }
        // No event is needed: while the inbox is open, there is no subscriber.
        self.count(class, JobState::Queued, count as i64);
        true
    }
}

#[cfg(all(test, not(fourway_shuttle), not(fourway_loom)))]
mod tests {
    use fourway_testing::{Gate, any, eventually};

    use crate::{DEFAULT_CLASS, JobManager, JobState};

    /// A dispatcher that took part after part, although none may start, would hold the lock for as
    /// long as jobs arrive.
    #[test]
    fn nothing_is_taken_in_parts_while_nothing_may_start() {
        const BACKLOG: usize = 300;
        let rt = any();
        let builders = [
            JobManager::builder(&rt).concurrency(1),
            JobManager::builder(&rt)
                .concurrency(2)
                .limit(DEFAULT_CLASS, 1),
        ];
        for builder in builders {
            let jobs = builder.build();
            jobs.shared().lock().settings.dispatchers = 1;
            let (runs, go, end) = (Gate::default(), Gate::default(), Gate::default());
            let (run, wait, pass) = (runs.clone(), go.clone(), end.clone());
            let first = jobs.submit(async move {
                run.open();
                wait.wait();
                // It moves to its own task, and still counts as running.
                pass.pass().await;
            });
            let first = first.unwrap();
            runs.wait();
            // The only dispatcher is at work: the first of these opens the inbox.
            let others: Vec<_> = (0..BACKLOG)
                .map(|number| jobs.submit(async move { number }).unwrap())
                .collect();
            assert!(jobs.shared().lock_to_take().is_open);
            go.open();
            // Seen without the other lock, which would move them in.
            eventually("the dispatcher finds no job that may start", || {
                jobs.shared().lock_to_take().dispatchers == 0
            });
            let store = jobs.shared().lock_to_take();
            assert_eq!(store.parts, 0);
            assert!(!store.is_open && store.arriving.is_empty());
            drop(store);
            assert_eq!(others[BACKLOG - 1].state(), Some(JobState::Queued));
            end.open();
            first.wait().unwrap();
            for (number, job) in others.into_iter().enumerate() {
                assert_eq!(job.wait().unwrap(), number);
            }
        }
    }
}

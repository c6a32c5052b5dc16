//! Jobs come in by the [inbox](crate::inbox).

use super::{Store, record::Record};
use crate::{JobState, inbox::Arrived};

impl Store {
    /// Moves the arrived jobs in. Each holder of the lock does that first.
    #[inline]
    pub(crate) fn bring_in(&mut self) {
        if self.is_open && self.inbox.has_any() {
            let mut arriving = std::mem::take(&mut self.arriving);
            self.inbox.take(&mut arriving);
            self.accept_all(arriving);
        }
    }

    /// Closes the inbox: from here on each job goes directly to the store. Jobs that had arrived
    /// are moved in; `true` if there were any.
    pub(super) fn close_inbox(&mut self) -> bool {
        if !std::mem::replace(&mut self.is_open, false) {
            return false;
        }
        let mut arriving = std::mem::take(&mut self.arriving);
        self.inbox.close(&mut arriving);
        let any = !arriving.is_empty();
        self.accept_all(arriving);
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

    /// Takes boxes of records, as far as jobs that come soon may need them.
    #[allow(clippy::vec_box, reason = "they are in boxes already")]
    pub(crate) fn reuse(&mut self, spares: &mut Vec<Box<Record>>) {
        const KEPT: usize = 256;
        if self.is_open && self.spares.len() < KEPT {
            self.spares.append(spares);
        }
    }

    fn accept_all(&mut self, mut arrived: Vec<Arrived>) {
        if arrived.is_empty() {
            self.arriving = arrived;
            return;
        }
        let class = self.queue.default_class();
        let count = arrived.len() as i64;
        for Arrived { id, new, at } in arrived.drain(..) {
            let number = id.number();
            self.queue
                .push(class, None, new.priority, at.watch, (number, 0));
            let mut record = match self.spares.pop() {
                Some(mut spare) => {
                    *spare = Record::of(new);
                    spare
                }
                None => Record::new(new),
            };
            (record.id, record.class) = (id, class);
            self.records.insert(number, record);
        }
        // No event is needed: while the inbox is open, there is no subscriber.
        self.count(class, JobState::Queued, count);
        // Returns the memory of a burst.
        if arrived.capacity() <= 1024 {
            self.arriving = arrived;
        }
    }
}

//! Jobs come in by the [inbox](crate::inbox).

use super::{Store, record::Record};
use crate::{JobState, inbox::Arrived};

impl Store {
    /// Moves the arrived jobs in; `true` if there were any. Each holder of the lock does that first,
    /// except a dispatcher.
    #[inline]
    pub(crate) fn bring_in(&mut self) -> bool {
        let any = self.is_open && self.inbox.has_any();
        if any {
            let mut arriving = std::mem::take(&mut self.arriving);
            self.inbox.take(&mut arriving);
            self.accept_all(arriving);
        }
        any
    }

    /// A dispatcher looks for a job: moves the arrived ones in if one of them might be the next, or
    /// if somebody waits for what depends on their number.
    pub(super) fn bring_in_pressing(&mut self) {
        let is_pressing = self.inbox.is_pressing()
            || !self.room.is_empty()
            || !self.idle.is_empty()
            || !self.queue.is_before_later_ones();
        if is_pressing {
            self.bring_in();
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

    fn accept_all(&mut self, mut arrived: Vec<Arrived>) {
        if arrived.is_empty() {
            self.arriving = arrived;
            return;
        }
        let class = self.queue.default_class();
        let count = arrived.len() as i64;
        for Arrived { id, new, at } in arrived.drain(..) {
            let number = id.number();
            let entry = (number, 0);
            self.queue.push(class, None, new.priority, at.watch, entry);
            self.records.insert(number, || {
                let mut record = Record::new(new);
                (record.id, record.class) = (id, class);
                record
            });
        }
        // No event is needed: while the inbox is open, there is no subscriber.
        self.count(class, JobState::Queued, count);
        // Returns the memory of a burst.
        if arrived.capacity() <= 1024 {
            self.arriving = arrived;
        }
    }
}

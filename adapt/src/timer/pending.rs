//! Timers that wait, by their deadlines: [`Pending`].
//!
//! Most timers are timeouts that do not strike: made, and soon taken back, while those made before
//! have nearer deadlines. So this is a heap: a deadline after all others is added at its end, and
//! taken out near its end, in a step or two. A balanced tree, which was tried first, goes down all
//! levels for that and moves neighbours. Each node has four children, which lie side by side.

use std::{collections::VecDeque, fmt, mem, num::NonZeroU64, task::Waker, time::Instant};

/// A timer that waits, or did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    slot: usize,
    /// Tells it from the others that have the slot before and after.
    number: NonZeroU64,
}

#[derive(Default)]
pub(super) struct Pending {
    /// None is due before its parent, the one at `(at - 1) / CHILDREN`.
    heap: Vec<Place>,
    /// One for each timer in the heap, which stays where it is, and free ones.
    slots: Vec<Slot>,
    /// The free slots, last in, first out.
    free: Vec<usize>,
    /// How many there have been. Equal deadlines go by it.
    number: u64,
    /// How many were taken out of many slots since the last look for memory to give back.
    taken: usize,
}

#[derive(Clone, Copy)]
struct Place {
    deadline: Instant,
    slot: usize,
}

struct Slot {
    /// Where it is in the heap, unless it is free.
    at: usize,
    number: u64,
    /// Empty if it is free.
    waker: Option<Waker>,
}

const CHILDREN: usize = 4;

/// Memory for more than so many is given back when few of it is in use.
const KEPT: usize = 1024;

/// So many may be taken one by one before the rest is considered as a whole.
const FEW: usize = 64;

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The nearest deadline.
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap.first().map(|place| place.deadline)
    }

    pub(super) fn insert(&mut self, deadline: Instant, waker: Waker) -> Entry {
        self.number += 1;
        let at = self.heap.len();
        let used = Slot {
            at,
            number: self.number,
            waker: Some(waker),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = used;
                slot
            }
            None => {
                self.slots.push(used);
                self.slots.len() - 1
            }
        };
        self.heap.push(Place { deadline, slot });
        self.up(at);
        Entry {
            slot,
            number: NonZeroU64::new(self.number).expect("it counts up from one"),
        }
    }

    /// Puts another waker in the place of the entry's, and gives that; or gives the new one back, if
    /// the entry does not wait any more.
    pub(super) fn replace(&mut self, entry: Entry, waker: Waker) -> Result<Waker, Waker> {
        match self.waker(entry) {
            Some(before) => Ok(mem::replace(before, waker)),
            None => Err(waker),
        }
    }

    fn waker(&mut self, entry: Entry) -> Option<&mut Waker> {
        let slot = self.slots.get_mut(entry.slot)?;
        let is_it = slot.number == entry.number.get();
        slot.waker.as_mut().filter(|_| is_it)
    }

    /// Takes one out, unless it does not wait any more.
    pub(super) fn remove(&mut self, entry: Entry) -> Option<Waker> {
        self.waker(entry)?;
        let waker = self.take(self.slots[entry.slot].at);
        self.tidy(1);
        Some(waker)
    }

    /// Takes out the one with the nearest deadline.
    pub(super) fn pop_first(&mut self) -> Option<Waker> {
        if self.is_empty() {
            return None;
        }
        let waker = self.take(0);
        self.tidy(1);
        Some(waker)
    }

    /// Takes out all that are due, in the order of their deadlines.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut VecDeque<Waker>) {
        let few = (self.len() / 8).max(FEW);
        for _ in 0..few {
            if self.first().is_none_or(|deadline| deadline > now) {
                return;
            }
            due.extend(self.pop_first());
        }
        // To take one costs a way down the heap. These are so many that it is cheaper to look at all.
        let all = mem::take(&mut self.heap).into_iter();
        let (mut over, rest): (Vec<_>, Vec<_>) = all.partition(|place| place.deadline <= now);
        over.sort_unstable_by_key(|place| (place.deadline, self.slots[place.slot].number));
        let taken = over.len();
        due.extend(over.into_iter().map(|place| self.release(place.slot)));
        self.heap = rest;
        for (at, place) in self.heap.iter().enumerate() {
            self.slots[place.slot].at = at;
        }
        for at in (0..self.heap.len().div_ceil(CHILDREN)).rev() {
            self.down(at);
        }
        self.tidy(taken);
    }

    /// Takes the one at this place out of the heap.
    fn take(&mut self, at: usize) -> Waker {
        let place = self.heap.swap_remove(at);
        if at < self.heap.len() {
            // The last one is there now. It may be due before the parent of the other, as it comes from
            // another branch.
            if self.up(at) == at {
                self.down(at);
            }
        }
        self.release(place.slot)
    }

    fn release(&mut self, slot: usize) -> Waker {
        self.free.push(slot);
        let waker = self.slots[slot].waker.take();
        waker.expect("each place of the heap has a slot in use")
    }

    /// Gives back the memory of a time when there were many more, after so many were taken out.
    fn tidy(&mut self, taken: usize) {
        let slots = self.slots.len();
        if slots <= KEPT {
            return;
        }
        if self.heap.is_empty() {
            *self = Self {
                number: self.number,
                ..Self::default()
            };
            return;
        }
        self.taken += taken;
        // A look costs as much as there are slots. It is paid by an eighth of them that were taken out;
        // or by the few that are left, of which each can make it necessary only once: timers made since
        // the first look have the lowest slots.
        let is_worth_it = self.len() <= FEW || self.taken >= slots / 8;
        if self.len() < slots / 4 && is_worth_it && self.slots[slots - 1].waker.is_none() {
            self.shrink();
        }
    }

    /// Slots in use stay where they are: those behind the last of them go.
    fn shrink(&mut self) {
        self.taken = 0;
        let used = self.slots.iter().rposition(|slot| slot.waker.is_some());
        self.slots.truncate(used.map_or(0, |last| last + 1));
        self.slots.shrink_to(KEPT);
        self.heap.shrink_to(KEPT);
        let is_free = |slot: &usize| self.slots[*slot].waker.is_none();
        // The lowest are used first, so that the last ones become free for good.
        self.free = (0..self.slots.len()).rev().filter(is_free).collect();
    }

    /// Moves the one at `at` up, as far as it is due before its parents. Gives its new place.
    fn up(&mut self, mut at: usize) -> usize {
        let moved = self.heap[at];
        while let Some(below) = at.checked_sub(1) {
            let parent = below / CHILDREN;
            if !self.is_before(&moved, &self.heap[parent]) {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        self.put(at, moved);
        at
    }

    /// Moves the one at `at` down, as far as one of its children is due before it.
    fn down(&mut self, mut at: usize) {
        let Some(&moved) = self.heap.get(at) else {
            return;
        };
        loop {
            let first = at * CHILDREN + 1;
            let end = (first + CHILDREN).min(self.heap.len());
            let before = |a: usize, b: usize| match self.is_before(&self.heap[b], &self.heap[a]) {
                true => b,
                false => a,
            };
            let Some(child) = (first..end).reduce(before) else {
                break;
            };
            if !self.is_before(&self.heap[child], &moved) {
                break;
            }
            self.put(at, self.heap[child]);
            at = child;
        }
        self.put(at, moved);
    }

    fn put(&mut self, at: usize, place: Place) {
        self.heap[at] = place;
        self.slots[place.slot].at = at;
    }

    fn is_before(&self, a: &Place, b: &Place) -> bool {
        let number = |place: &Place| self.slots[place.slot].number;
        a.deadline < b.deadline || (a.deadline == b.deadline && number(a) < number(b))
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, task::Wake, time::Duration};

    use super::*;

    struct Known;

    impl Wake for Known {
        fn wake(self: Arc<Self>) {}
    }

    /// Numbers that look random, the same in each run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % bound
        }
    }

    /// The same in the heap and in a map, which knows the order.
    #[derive(Default)]
    struct Both {
        pending: Pending,
        map: BTreeMap<(Instant, u64), (Entry, Arc<Known>)>,
        gone: Vec<Entry>,
        number: u64,
    }

    impl Both {
        fn insert(&mut self, deadline: Instant) {
            let known = Arc::new(Known);
            let entry = self.pending.insert(deadline, known.clone().into());
            self.number += 1;
            self.map.insert((deadline, self.number), (entry, known));
        }

        fn is(waker: &Waker, known: &Arc<Known>) -> bool {
            waker.data() == Arc::as_ptr(known).cast()
        }

        fn remove(&mut self, nth: usize) {
            let Some(&key) = self.map.keys().nth(nth) else {
                return;
            };
            let (entry, known) = self.map.remove(&key).unwrap();
            let waker = self.pending.remove(entry).unwrap();
            assert!(Self::is(&waker, &known));
            self.gone.push(entry);
        }

        fn replace(&mut self, nth: usize) {
            if let Some((entry, known)) = self.map.values_mut().nth(nth) {
                let other = Arc::new(Known);
                let before = self.pending.replace(*entry, other.clone().into()).unwrap();
                assert!(Self::is(&before, known));
                *known = other;
            }
        }

        fn take_due(&mut self, now: Instant) {
            let mut due = VecDeque::new();
            self.pending.take_due(now, &mut due);
            for waker in due {
                let ((deadline, _), (entry, known)) = self.map.pop_first().unwrap();
                assert!(deadline <= now);
                assert!(Self::is(&waker, &known), "in the order of the deadlines");
                self.gone.push(entry);
            }
            let first = self.map.keys().next().map(|(deadline, _)| *deadline);
            assert!(first.is_none_or(|deadline| deadline > now));
        }

        fn check(&mut self) {
            assert_eq!(self.pending.len(), self.map.len());
            let first = self.map.keys().next().map(|(deadline, _)| *deadline);
            assert_eq!(self.pending.first(), first);
            for entry in self.gone.drain(..) {
                assert!(self.pending.remove(entry).is_none(), "it is another's slot");
                let given_back = self.pending.replace(entry, Waker::noop().clone());
                assert!(given_back.is_err());
            }
        }
    }

    #[test]
    fn they_are_taken_out_in_the_order_of_their_deadlines() {
        let begin = Instant::now();
        for seed in 0..200 {
            let (mut random, mut both) = (Random(seed), Both::default());
            // From few deadlines, of which many are equal, to many.
            let span = 1 + random.below(1 << (seed % 12));
            let most = 1 + random.below(400);
            let at = |random: &mut Random| begin + Duration::from_millis(random.below(span));
            for _ in 0..300 {
                match random.below(10) {
                    0..4 => both.insert(at(&mut random)),
                    4 => (0..random.below(most)).for_each(|_| both.insert(at(&mut random))),
                    5..8 => both.remove(random.below(most) as usize),
                    8 => both.replace(random.below(most) as usize),
                    _ => both.take_due(at(&mut random)),
                }
                both.check();
            }
            while let Some(waker) = both.pending.pop_first() {
                let (_, (_, known)) = both.map.pop_first().unwrap();
                assert!(Both::is(&waker, &known));
            }
            assert!(both.map.is_empty());
        }
    }

    #[test]
    fn memory_for_many_is_given_back_with_the_last() {
        let mut pending = Pending::default();
        let begin = Instant::now();
        let entries: Vec<_> = (0..2 * KEPT)
            .map(|_| pending.insert(begin, Waker::noop().clone()))
            .collect();
        for entry in &entries {
            assert!(pending.remove(*entry).is_some());
        }
        assert_eq!(pending.slots.capacity() + pending.free.capacity(), 0);
        let after = pending.insert(begin, Waker::noop().clone());
        assert!(entries.iter().all(|entry| pending.remove(*entry).is_none()));
        assert!(pending.remove(after).is_some());
    }

    #[test]
    fn memory_for_many_is_given_back_beside_one_that_stays() {
        for is_first_out_last in [false, true] {
            let mut pending = Pending::default();
            let begin = Instant::now();
            let mut insert = || pending.insert(begin, Waker::noop().clone());
            let stays = insert();
            let mut entries: Vec<_> = (0..64 * KEPT).map(|_| insert()).collect();
            if is_first_out_last {
                entries.reverse();
            }
            for entry in entries {
                assert!(pending.remove(entry).is_some());
            }
            assert_eq!(pending.len(), 1);
            let most = 2 * KEPT;
            assert!(pending.slots.capacity() <= most);
            assert!(pending.free.capacity() <= most);
            assert!(pending.heap.capacity() <= most);
            assert!(pending.remove(stays).is_some());
        }
    }
}

//! Chooses the next job: by class, key and priority, with ageing.
//!
//! Of two jobs, the one that has waited longer goes first; each level of priority counts as a fixed
//! time of waiting (`ageing`). The difference between two jobs never changes, so a job's rank is
//! computed once: the time at which it was queued, minus the worth of its priority. So jobs are
//! never sorted anew as they age, and no job starves: a newer job overtakes only within the worth
//! of its priority.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use crate::{DEFAULT_CLASS, snapshot::Counts};

/// The smaller rank goes first. The second number distinguishes jobs, in the order of submission.
/// The third is the job's round, as a job that is cancelled and run again leaves its old entry
/// behind.
pub(crate) type Rank = (i64, u64, u32);

/// A job in its round: see [`Rank`].
type Entry = (u64, u32);

pub(crate) struct Queue {
    /// What a level of priority is worth, in nanoseconds of waiting.
    pub(crate) ageing: u64,
    pub(crate) classes: Vec<Class>,
    by_name: HashMap<Arc<str>, u32>,
    /// The default class, once there is one.
    default: Option<u32>,
    /// Numbers of classes that were forgotten, for the next ones.
    free: Vec<u32>,
    /// How many classes there ever were.
    ever: u64,
    /// The classes from which a job may be started, by their first one: while there are more than
    /// [`few`](Self::few) of them.
    open: Option<BTreeSet<(Rank, u32)>>,
    /// So many classes are looked at one after the other, which is quicker than an index is kept.
    few: usize,
}

const FEW: usize = 16;

pub(crate) struct Class {
    pub(crate) name: Arc<str>,
    /// It came after so many others. `None` if it is forgotten.
    pub(crate) since: Option<u64>,
    pub(crate) paused: bool,
    pub(crate) limit: usize,
    pub(crate) limit_per_key: usize,
    pub(crate) running: usize,
    pub(crate) counts: Counts,
    /// Jobs without a key.
    line: Line,
    keyed: Option<Box<Keyed>>,
    /// Where it is among the open ones.
    at: Option<Rank>,
}

#[derive(Default)]
struct Keyed {
    lines: HashMap<Arc<str>, KeyLine>,
    /// The lines from which a job may be started, by their first one.
    open: BTreeMap<Rank, Arc<str>>,
}

#[derive(Default)]
struct KeyLine {
    line: Line,
    running: usize,
    /// Where it is among the open ones.
    at: Option<Rank>,
}

/// Jobs of one class and key: in the order of submission for each priority.
#[derive(Default)]
struct Line {
    levels: Vec<(i8, VecDeque<Rank>)>,
}

impl Queue {
    pub(crate) fn new(ageing: u64) -> Self {
        Self {
            ageing,
            classes: Vec::new(),
            by_name: HashMap::new(),
            default: None,
            free: Vec::new(),
            ever: 0,
            open: None,
            few: FEW,
        }
    }

    /// The class of that name, which is made if need be.
    pub(crate) fn class(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let name: Arc<str> = name.into();
        let class = Class {
            name: name.clone(),
            since: Some(self.ever),
            paused: false,
            limit: usize::MAX,
            limit_per_key: usize::MAX,
            running: 0,
            counts: Counts::default(),
            line: Line::default(),
            keyed: None,
            at: None,
        };
        self.ever += 1;
        let number = if let Some(number) = self.free.pop() {
            self.classes[number as usize] = class;
            number
        } else {
            self.classes.push(class);
            u32::try_from(self.classes.len() - 1).expect("fewer classes than memory")
        };
        self.by_name.insert(name, number);
        if self.open.is_none() && self.classes.len() > self.few {
            self.open = Some(BTreeSet::new());
            for number in 0..self.classes.len() as u32 {
                self.settle(number);
            }
        }
        number
    }

    /// Puts a class where it belongs among the open ones. After each change of what may be started
    /// of it.
    #[inline]
    fn settle(&mut self, number: u32) {
        if let Some(open) = &mut self.open {
            let class = &mut self.classes[number as usize];
            let at = class.first().map(|(rank, _)| rank);
            if class.at != at {
                if let Some(before) = class.at {
                    open.remove(&(before, number));
                }
                if let Some(at) = at {
                    open.insert((at, number));
                }
                class.at = at;
            }
        }
    }

    /// Forgets a class if it has no jobs and no settings, as a program may name classes after its
    /// users. Gives how many entries of jobs were in its line: these jobs were forgotten before.
    pub(crate) fn tidy(&mut self, number: u32) -> u64 {
        let class = &mut self.classes[number as usize];
        if Some(number) == self.default || !class.is_unused() {
            return 0;
        }
        let entries = class.entries();
        self.by_name.remove(&class.name);
        class.since = None;
        (class.line, class.keyed) = (Line::default(), None);
        self.settle(number);
        self.free.push(number);
        // So that a manager with one class left is as quick as one that never had others.
        if self.classes.last().is_some_and(|last| last.since.is_none()) {
            while self.classes.last().is_some_and(|last| last.since.is_none()) {
                self.classes.pop();
            }
            let classes = self.classes.len();
            self.free.retain(|number| (*number as usize) < classes);
            // Not as soon as they are few, so that one that comes and goes does not make it anew
            // each time.
            if classes <= self.few / 2 && self.open.take().is_some() {
                self.classes.iter_mut().for_each(|class| class.at = None);
            }
        }
        entries
    }

    pub(crate) fn default_class(&mut self) -> u32 {
        if let Some(number) = self.default {
            return number;
        }
        let number = self.class(DEFAULT_CLASS);
        self.default = Some(number);
        number
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn counts(&mut self, class: u32) -> &mut Counts {
        &mut self.classes[class as usize].counts
    }

    pub(crate) fn pause(&mut self, class: u32, paused: bool) {
        self.classes[class as usize].paused = paused;
        self.settle(class);
    }

    pub(crate) fn set_limit(&mut self, class: u32, limit: usize) {
        self.classes[class as usize].limit = limit;
        self.settle(class);
    }

    pub(crate) fn set_limit_per_key(&mut self, class: u32, limit: usize) {
        self.classes[class as usize].set_limit_per_key(limit);
        self.settle(class);
    }

    #[inline]
    pub(crate) fn push(
        &mut self,
        of: u32,
        key: Option<&Arc<str>>,
        priority: i8,
        watch: u64,
        (number, round): Entry,
    ) {
        let worth = i64::from(priority).saturating_mul(self.ageing as i64);
        let rank = ((watch as i64).saturating_sub(worth), number, round);
        let class = &mut self.classes[of as usize];
        match key {
            None => class.line.push(priority, rank),
            Some(key) => {
                let keyed = class.keyed.get_or_insert_default();
                let line = keyed.lines.entry(key.clone()).or_default();
                line.line.push(priority, rank);
                keyed.settle(key, class.limit_per_key);
            }
        }
        self.settle(of);
    }

    /// Puts a job back that was [taken](Self::pop) and not started. It keeps its place in line.
    pub(crate) fn put_back(&mut self, of: u32, key: Option<&Arc<str>>, priority: i8, rank: Rank) {
        let class = &mut self.classes[of as usize];
        match key {
            None => class.line.put_back(priority, rank),
            Some(key) => {
                let keyed = class.keyed.get_or_insert_default();
                let line = keyed.lines.entry(key.clone()).or_default();
                line.line.put_back(priority, rank);
                keyed.settle(key, class.limit_per_key);
            }
        }
        self.settle(of);
    }

    /// Takes the next job that may run, if any. The job may have been cancelled since its entry
    /// was pushed, and may be in another round.
    pub(crate) fn pop(&mut self) -> Option<Rank> {
        let best = match (&*self.classes, &self.open) {
            (_, Some(open)) => open.first()?.1,
            // The usual case: no rank is compared.
            ([only], None) if only.keyed.is_none() => {
                let only = &mut self.classes[0];
                return only.has_room().then(|| only.line.pop())?;
            }
            (few, None) => {
                let first = |(number, class): (u32, &Class)| Some((class.first()?.0, number));
                (0..).zip(few).filter_map(first).min()?.1
            }
        };
        let rank = self.classes[best as usize].pop();
        self.settle(best);
        rank
    }

    /// Do all jobs that wait go before a job of the default class that comes now and whose priority
    /// is not positive? They do in one class without keys, if none of them has a negative priority.
    pub(crate) fn is_before_later_ones(&self) -> bool {
        match &*self.classes {
            [only] => only.keyed.is_none() && only.line.is_without_negatives(),
            _ => false,
        }
    }

    /// May any job be started, if there is room for it?
    pub(crate) fn any(&self) -> bool {
        match &self.open {
            Some(open) => !open.is_empty(),
            None => self.classes.iter().any(|class| class.first().is_some()),
        }
    }

    /// May one more job of the default class be started, as far as the class is concerned?
    pub(crate) fn has_default_room(&self) -> bool {
        let default = self.default.map(|number| &self.classes[number as usize]);
        default.is_none_or(Class::has_room)
    }

    /// A job has been started.
    pub(crate) fn started(&mut self, class: u32, key: Option<&Arc<str>>) {
        self.run(class, key, |running| *running += 1);
    }

    /// And has ended.
    pub(crate) fn ended(&mut self, class: u32, key: Option<&Arc<str>>) {
        self.run(class, key, |running| *running -= 1);
    }

    fn run(&mut self, of: u32, key: Option<&Arc<str>>, count: impl Fn(&mut usize)) {
        let class = &mut self.classes[of as usize];
        count(&mut class.running);
        if let Some(key) = key {
            let keyed = class.keyed.get_or_insert_default();
            count(&mut keyed.lines.entry(key.clone()).or_default().running);
            keyed.settle(key, class.limit_per_key);
        }
        self.settle(of);
    }

    /// Forgets entries of jobs that wait no longer.
    pub(crate) fn retain(&mut self, waits: impl Fn(Entry) -> bool) {
        for class in &mut self.classes {
            class.line.retain(&waits);
            if let Some(keyed) = &mut class.keyed {
                for line in keyed.lines.values_mut() {
                    line.line.retain(&waits);
                }
                let keys: Vec<_> = keyed.lines.keys().cloned().collect();
                for key in keys {
                    keyed.settle(&key, class.limit_per_key);
                }
            }
        }
        for number in 0..self.classes.len() as u32 {
            self.settle(number);
        }
    }
}

impl Class {
    /// May one more of its jobs be started?
    fn has_room(&self) -> bool {
        !self.paused && self.running < self.limit
    }

    /// The rank of its first job that may be started, and whether that has a key.
    fn first(&self) -> Option<(Rank, bool)> {
        #[cfg(test)]
        tests::LOOKS.set(tests::LOOKS.get() + 1);
        if !self.has_room() {
            return None;
        }
        let plain = self.line.first();
        let keyed = self
            .keyed
            .as_ref()
            .and_then(|keyed| Some(*keyed.open.first_key_value()?.0));
        match (plain, keyed) {
            (Some(plain), Some(keyed)) => Some((plain.min(keyed), keyed < plain)),
            (Some(plain), None) => Some((plain, false)),
            (None, Some(keyed)) => Some((keyed, true)),
            (None, None) => None,
        }
    }

    /// Takes that job.
    fn pop(&mut self) -> Option<Rank> {
        let (_, has_key) = self.first()?;
        if !has_key {
            return self.line.pop();
        }
        let keyed = self.keyed.as_mut()?;
        let (_, key) = keyed.open.first_key_value()?;
        let key = key.clone();
        let entry = keyed.lines.get_mut(&key)?.line.pop();
        keyed.settle(&key, self.limit_per_key);
        entry
    }

    /// Does it say nothing that the next class of that name would not say?
    fn is_unused(&self) -> bool {
        self.since.is_some()
            && self.counts == Counts::default()
            && !self.paused
            && self.limit == usize::MAX
            && self.limit_per_key == usize::MAX
    }

    fn entries(&self) -> u64 {
        let keyed = self.keyed.iter().flat_map(|keyed| keyed.lines.values());
        let lines = keyed.map(|keyed| &keyed.line).chain([&self.line]);
        let levels = lines.flat_map(|line| &line.levels);
        levels.map(|(_, level)| level.len() as u64).sum()
    }

    /// The limit for each key has changed.
    fn set_limit_per_key(&mut self, limit: usize) {
        self.limit_per_key = limit;
        if let Some(keyed) = &mut self.keyed {
            let keys: Vec<_> = keyed.lines.keys().cloned().collect();
            for key in keys {
                keyed.settle(&key, limit);
            }
        }
    }
}

impl Keyed {
    /// Puts a line where it belongs among the open ones, or forgets it.
    fn settle(&mut self, key: &Arc<str>, limit: usize) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let first = line.line.first();
        let at = first.filter(|_| line.running < limit);
        if line.at != at {
            if let Some(before) = line.at {
                self.open.remove(&before);
            }
            if let Some(at) = at {
                self.open.insert(at, key.clone());
            }
            line.at = at;
        }
        if first.is_none() && line.running == 0 {
            self.lines.remove(key);
        }
    }
}

impl Line {
    #[inline]
    fn push(&mut self, priority: i8, rank: Rank) {
        let level = match &mut *self.levels {
            // The usual case.
            [level, ..] if level.0 == priority => Some(level),
            levels => levels.iter_mut().find(|(of, _)| *of == priority),
        };
        if let Some((_, level)) = level {
            // The watch never goes back, but two threads may read it in one order and come
            // here in the other.
            let rank = level
                .back()
                .map_or(rank, |last| (rank.0.max(last.0), rank.1, rank.2));
            level.push_back(rank);
        } else {
            self.levels.push((priority, VecDeque::from([rank])));
        }
    }

    /// Each level is in the order of its ranks.
    fn put_back(&mut self, priority: i8, rank: Rank) {
        match self.levels.iter_mut().find(|(of, _)| *of == priority) {
            Some((_, level)) => {
                let at = level.partition_point(|other| *other < rank);
                level.insert(at, rank);
            }
            None => self.push(priority, rank),
        }
    }

    fn is_without_negatives(&self) -> bool {
        let mut levels = self.levels.iter();
        levels.all(|(priority, level)| *priority >= 0 || level.is_empty())
    }

    fn first(&self) -> Option<Rank> {
        match &*self.levels {
            [(_, only)] => only.front().copied(),
            levels => levels
                .iter()
                .filter_map(|(_, level)| level.front().copied())
                .min(),
        }
    }

    fn pop(&mut self) -> Option<Rank> {
        let level = match &mut *self.levels {
            [(_, only)] => only,
            levels => {
                &mut levels
                    .iter_mut()
                    .filter(|(_, level)| !level.is_empty())
                    .min_by_key(|(_, level)| level.front().copied())?
                    .1
            }
        };
        let rank = level.pop_front()?;
        // Returns the memory of a burst once it is over.
        if level.is_empty() && level.capacity() > 1024 {
            *level = VecDeque::new();
        }
        Some(rank)
    }

    fn retain(&mut self, waits: &impl Fn(Entry) -> bool) {
        for (_, level) in &mut self.levels {
            level.retain(|(_, number, round)| waits((*number, *round)));
        }
        self.levels.retain(|(_, level)| !level.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How often the first job of a class was looked for.
        pub(super) static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    fn queue(few: usize) -> Queue {
        Queue {
            few,
            ..Queue::new(1000)
        }
    }

    #[test]
    fn a_job_is_taken_from_one_of_many_classes_without_a_look_at_each() {
        const CLASSES: u64 = 2_000;
        let mut queue = Queue::new(1000);
        for number in 0..2 * CLASSES {
            let class = queue.class(&(number % CLASSES).to_string());
            queue.push(class, None, 0, number, (number, 0));
        }
        let before = LOOKS.get();
        for number in 0..2 * CLASSES {
            assert!(queue.any());
            let (_, taken, _) = queue.pop().unwrap();
            assert_eq!(taken, number);
            let class = queue.class(&(number % CLASSES).to_string());
            queue.started(class, None);
            queue.ended(class, None);
        }
        assert!(!queue.any() && queue.pop().is_none());
        let looks = LOOKS.get() - before;
        assert!(
            looks <= 8 * 2 * CLASSES,
            "{looks} looks at {CLASSES} classes"
        );
    }

    /// With an index and without, whatever is done to the queue.
    #[test]
    fn an_index_of_classes_changes_nothing() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |end: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % end
        };
        for _ in 0..50 {
            let mut queues = [queue(usize::MAX), queue(6)];
            let keys: [Arc<str>; 2] = ["a".into(), "b".into()];
            // What was taken: its class and key, its priority, and its rank.
            let mut jobs = HashMap::new();
            let mut taken: Vec<Rank> = Vec::new();
            for number in 0..600_u64 {
                let name = below(12).to_string();
                let what = below(16);
                let (n, key) = (below(3) as usize, keys.get(below(4) as usize));
                let at = (!taken.is_empty()).then(|| below(taken.len() as u64) as usize);
                let priority = below(3) as i8 - 1;
                let done = queues.each_mut().map(|queue| {
                    let class = queue.class(&name);
                    match (what, at) {
                        (0..=5, _) => {
                            queue.counts(class).queued += 1;
                            queue.push(class, key, priority, number, (number, 0));
                        }
                        (6..=8, _) => {
                            let rank = queue.pop();
                            if let Some((_, number, _)) = rank {
                                let (name, key, _): &(String, Option<Arc<str>>, i8) =
                                    &jobs[&number];
                                let class = queue.class(name);
                                queue.started(class, key.as_ref());
                            }
                            return (rank, queue.any());
                        }
                        (9..=11, Some(at)) => {
                            let rank = taken[at];
                            let (name, key, priority) = &jobs[&rank.1];
                            let class = queue.class(name);
                            queue.ended(class, key.as_ref());
                            if what == 11 {
                                queue.put_back(class, key.as_ref(), *priority, rank);
                            } else {
                                queue.counts(class).queued -= 1;
                                queue.tidy(class);
                            }
                        }
                        (12, _) => queue.pause(class, n > 0),
                        (13, _) => queue.set_limit(class, [1, 2, usize::MAX][n]),
                        (14, _) => queue.set_limit_per_key(class, [1, 2, usize::MAX][n]),
                        (15, _) if n == 0 => queue.retain(|(number, _)| number % 5 > 0),
                        _ => {}
                    }
                    if let Some(class) = queue.find(&name) {
                        queue.tidy(class);
                    }
                    (None, queue.any())
                });
                assert_eq!(done[0], done[1]);
                match (what, at) {
                    (0..=5, _) => {
                        jobs.insert(number, (name, key.cloned(), priority));
                    }
                    (6..=8, _) => taken.extend(done[0].0),
                    (9..=11, Some(at)) => {
                        taken.remove(at);
                    }
                    _ => {}
                }
            }
            assert!(queues[0].open.is_none());
        }
    }
}

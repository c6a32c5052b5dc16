//! The choice of the next unit: the trait [`Schedule`], and the strategies.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{UnitId, random::Random};

/// Chooses which of the ready units runs next.
///
/// It is asked only if there are two or more. The same answers lead to the same run: the
/// order of the [`Ready`] list depends on nothing but the choices before.
///
/// It is asked between two turns, when no unit runs: it must not use the simulation. A panic of it
/// is the run's ([`FailureKind::Panic`](crate::FailureKind::Panic)), which ends at that choice.
pub trait Schedule: Send + 'static {
    /// The index of the chosen unit, less than `ready.len()`. (A larger one counts as the last.)
    fn choose(&mut self, ready: &Ready<'_>) -> usize;
}

/// The units that are ready to run: tasks, closures, threads.
pub struct Ready<'a> {
    pub(crate) ids: &'a dyn Fn(usize) -> UnitId,
    pub(crate) len: usize,
    pub(crate) current: Option<UnitId>,
    pub(crate) gave_way: Option<UnitId>,
    /// Which step of the run it is.
    pub(crate) step: u64,
}

impl Ready<'_> {
    /// How many; two at least.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of the unit at `index`.
    ///
    /// # Panics
    ///
    /// If `index` is not less than [`len`](Self::len).
    #[must_use]
    pub fn id(&self, index: usize) -> UnitId {
        assert!(index < self.len, "there are only {} ready", self.len);
        (self.ids)(index)
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = UnitId> + '_ {
        (0..self.len).map(|index| (self.ids)(index))
    }

    /// The unit that ran last. To choose another one while this one is ready is a preemption.
    #[must_use]
    pub fn current(&self) -> Option<UnitId> {
        self.current
    }

    /// The unit that has just let others go first, as `yield_now` does, and is ready again. A
    /// schedule that chooses it each time all the same may let it wait for the others for ever.
    #[must_use]
    pub fn gave_way(&self) -> Option<UnitId> {
        self.gave_way
    }

    /// Where [`current`](Self::current) is in the list, if it is ready and has not given way.
    fn current_index(&self) -> Option<usize> {
        let current = self.current.filter(|id| self.gave_way != Some(*id))?;
        self.ids().position(|id| id == current)
    }
}

impl fmt::Debug for Ready<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// In a recorded schedule: no preemption here.
pub(crate) const GO_ON: UnitId = UnitId(u32::MAX);

/// How schedules are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Each ready unit is as likely as the others.
    #[default]
    Random,
    /// Probabilistic concurrency testing (Burckhardt et al., 2010): each unit has a random
    /// priority, the highest runs until it waits or gives way, and at `depth - 1` random moments
    /// the running unit becomes the lowest; so does a unit that gives way. It finds a bug that
    /// takes `depth` ordered events with a probability that can be computed. It is good where the
    /// random strategy switches too often.
    Pct {
        /// How many events have to come in a certain order; 1 to 3 are of use.
        depth: usize,
        /// How many choices there are in a run. 0: as many as in a first run, which
        /// [`Check`](crate::Check) makes to see; without that, a thousand.
        choices: usize,
    },
    /// In the order of their numbers, one after the other.
    RoundRobin,
    /// All schedules, one after the other: for small programs. Takes as many runs as there
    /// are schedules, all with the first seed; [`check`](crate::check) ends when it has seen all.
    /// A unit that gives way twice while no other has run lets the others go first. Otherwise a
    /// loop around `yield_now` would have schedules without end (as in CHESS, Musuvathi and Qadeer,
    /// 2008).
    DepthFirst,
    /// The choices of an earlier run, as its failure tells them.
    Replay(Vec<UnitId>),
}

impl Strategy {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Random => "random".into(),
            Self::Pct { depth, choices } => format!("pct-{depth}-{choices}"),
            Self::RoundRobin => "round-robin".into(),
            Self::DepthFirst => "depth-first".into(),
            Self::Replay(choices) => format!("replay-{}", encode(choices)),
        }
    }

    /// The inverse of `name`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "random" => Self::Random,
            "round-robin" => Self::RoundRobin,
            "depth-first" => Self::DepthFirst,
            _ if name.starts_with("replay-") => {
                Self::Replay(decode(name.strip_prefix("replay-")?)?)
            }
            _ => {
                let (depth, choices) = name.strip_prefix("pct-")?.split_once('-')?;
                Self::Pct {
                    // As many changes are drawn; more would be a slip of the pen.
                    depth: depth.parse().ok().filter(|depth| *depth <= DEEPEST)?,
                    choices: choices.parse().ok()?,
                }
            }
        })
    }

    /// The schedule of one run.
    pub(crate) fn schedule(&self, seed: u64) -> Box<dyn Schedule> {
        match self {
            Self::Random => Box::new(Uniform(Random::new(seed, 0))),
            Self::Pct { depth, choices } => {
                let choices = if *choices == 0 { 1000 } else { *choices };
                Box::new(Pct::new(seed, *depth, choices))
            }
            Self::RoundRobin => Box::new(RoundRobin { last: None }),
            Self::DepthFirst => Box::new(DepthFirst::default().run()),
            Self::Replay(choices) => Box::new(Replay::new(choices.clone())),
        }
    }
}

/// `~12.4.~3.2`: twelve times the running unit goes on, then number 4, and so on.
fn encode(choices: &[UnitId]) -> String {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < choices.len() {
        let same = choices[at..]
            .iter()
            .take_while(|choice| **choice == GO_ON)
            .count();
        if same > 0 {
            parts.push(format!("~{same}"));
            at += same;
        } else {
            parts.push(choices[at].to_string());
            at += 1;
        }
    }
    parts.join(".")
}

/// How many choices a recorded schedule has at most.
const MOST: usize = 100_000_000;
/// The depth of a recorded [`Strategy::Pct`] at most.
const DEEPEST: usize = 1_000_000;

fn decode(text: &str) -> Option<Vec<UnitId>> {
    let mut choices = Vec::new();
    for part in text.split('.').filter(|part| !part.is_empty()) {
        match part.strip_prefix('~') {
            Some(count) => {
                // As many as a trace may keep; more would be a slip of the pen.
                let count: usize = count.parse().ok()?;
                if count > MOST - choices.len() {
                    return None;
                }
                choices.extend(std::iter::repeat_n(GO_ON, count));
            }
            None if choices.len() == MOST => return None,
            None => choices.push(UnitId(part.parse().ok()?)),
        }
    }
    Some(choices)
}

struct Uniform(Random);

impl Schedule for Uniform {
    fn choose(&mut self, ready: &Ready<'_>) -> usize {
        self.0.below(ready.len())
    }
}

struct RoundRobin {
    last: Option<UnitId>,
}

impl Schedule for RoundRobin {
    fn choose(&mut self, ready: &Ready<'_>) -> usize {
        let numbered = || ready.ids().enumerate().map(|(index, id)| (id, index));
        let after = numbered().filter(|(id, _)| self.last.is_none_or(|last| *id > last));
        let chosen = after.min().or_else(|| numbered().min());
        let (id, index) = chosen.unwrap_or((ready.id(0), 0));
        self.last = Some(id);
        index
    }
}

struct Pct {
    random: Random,
    priorities: BTreeMap<UnitId, u64>,
    /// Choices at which the running unit becomes the lowest.
    changes: Vec<usize>,
    choices: usize,
    lowest: u64,
}

impl Pct {
    fn new(seed: u64, depth: usize, steps: usize) -> Self {
        let mut random = Random::new(seed, 0);
        // Counted from 1, as `choices` is when they are looked at.
        let changes = (1..depth).map(|_| 1 + random.below(steps.max(1))).collect();
        Self {
            random,
            priorities: BTreeMap::new(),
            changes,
            choices: 0,
            lowest: 1 << 32,
        }
    }
}

impl Schedule for Pct {
    fn choose(&mut self, ready: &Ready<'_>) -> usize {
        self.choices += 1;
        for id in ready.ids() {
            let random = &mut self.random;
            let priorities = self.priorities.entry(id);
            // Above all those that were lowered.
            priorities.or_insert_with(|| random.next() | (1 << 63));
        }
        if let Some(id) = ready.gave_way() {
            self.lowest -= 1;
            self.priorities.insert(id, self.lowest);
        }
        let highest = |priorities: &BTreeMap<UnitId, u64>| {
            let key = |index: &usize| priorities.get(&ready.id(*index)).copied();
            (0..ready.len()).max_by_key(key).unwrap_or(0)
        };
        let chosen = highest(&self.priorities);
        if !self.changes.contains(&self.choices) {
            return chosen;
        }
        self.lowest -= 1;
        self.priorities.insert(ready.id(chosen), self.lowest);
        highest(&self.priorities)
    }
}

struct Replay {
    choices: std::vec::IntoIter<UnitId>,
}

impl Replay {
    fn new(choices: Vec<UnitId>) -> Self {
        Self {
            choices: choices.into_iter(),
        }
    }
}

impl Schedule for Replay {
    fn choose(&mut self, ready: &Ready<'_>) -> usize {
        // A program that has changed since, or a shortened schedule, may have other units ready:
        // then the running unit goes on, or else the first by number.
        let wanted = self.choices.next();
        let found = wanted.and_then(|wanted| ready.ids().position(|id| id == wanted));
        found.unwrap_or_else(|| go_on(ready))
    }
}

/// Without a preemption: the running unit goes on, or else the lowest number; a unit that has given
/// way comes last.
fn go_on(ready: &Ready<'_>) -> usize {
    ready.current_index().unwrap_or_else(|| {
        let numbered = ready.ids().enumerate();
        let numbered = numbered.map(|(index, id)| (ready.gave_way() == Some(id), id, index));
        numbered.min().map_or(0, |(_, _, index)| index)
    })
}

/// Goes through all schedules of a program, one in each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct DepthFirst {
    path: Arc<Mutex<Path>>,
}

#[derive(Debug, Default)]
struct Path {
    /// Of each choice so far: which one was taken, and out of how many.
    choices: Vec<(usize, usize)>,
    at: usize,
    /// The unit that has given way and was chosen all the same, and at which step.
    again: Option<(UnitId, u64)>,
}

impl DepthFirst {
    fn path(&self) -> std::sync::MutexGuard<'_, Path> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schedule of the next run.
    pub(crate) fn run(&self) -> impl Schedule + use<> {
        let mut path = self.path();
        path.at = 0;
        path.again = None;
        drop(path);
        self.clone()
    }

    /// After a run: is there another schedule?
    pub(crate) fn advance(&self) -> bool {
        let mut path = self.path();
        let at = path.at;
        path.choices.truncate(at);
        while let Some((taken, of)) = path.choices.pop() {
            if taken + 1 < of {
                path.choices.push((taken + 1, of));
                return true;
            }
        }
        false
    }
}

impl Schedule for DepthFirst {
    fn choose(&mut self, ready: &Ready<'_>) -> usize {
        // In the order of their numbers, with the running unit first, or last if it has given way:
        // the first schedules are those without preemptions.
        let mut order: Vec<(bool, bool, UnitId, usize)> = (0..ready.len())
            .map(|index| {
                let id = ready.id(index);
                let gave_way = ready.gave_way() == Some(id);
                (gave_way, Some(id) != ready.current, id, index)
            })
            .collect();
        order.sort_unstable();
        let mut path = self.path();
        // At the step before this one, because in between another unit may have run without a
        // choice.
        let spun = path.again.filter(|(_, step)| step + 1 == ready.step);
        if spun.is_some_and(|(id, _)| ready.gave_way() == Some(id)) {
            // The last one.
            order.pop();
        }
        let at = path.at;
        path.at += 1;
        if at == path.choices.len() {
            path.choices.push((0, order.len()));
        }
        let (gave_way, _, id, index) = order[path.choices[at].0.min(order.len() - 1)];
        path.again = gave_way.then_some((id, ready.step));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(schedule: &mut dyn Schedule, ids: &[u32], current: Option<u32>) -> u32 {
        let ids: Vec<UnitId> = ids.iter().map(|id| UnitId(*id)).collect();
        let ready = Ready {
            ids: &|index| ids[index],
            len: ids.len(),
            current: current.map(UnitId),
            gave_way: None,
            step: 0,
        };
        let index = schedule.choose(&ready);
        ids[index].0
    }

    /// After `current` has given way.
    fn choose_after(schedule: &mut dyn Schedule, ids: &[u32], current: u32) -> u32 {
        let ids: Vec<UnitId> = ids.iter().map(|id| UnitId(*id)).collect();
        let ready = Ready {
            ids: &|index| ids[index],
            len: ids.len(),
            current: Some(UnitId(current)),
            gave_way: Some(UnitId(current)),
            step: 1,
        };
        let index = schedule.choose(&ready);
        ids[index].0
    }

    #[test]
    fn whoever_gives_way_lets_the_others_go_first() {
        let pct = Strategy::Pct {
            depth: 1,
            choices: 100,
        };
        for strategy in [pct, Strategy::DepthFirst, Strategy::Replay(vec![GO_ON; 9])] {
            for seed in 0..20 {
                let mut schedule = strategy.schedule(seed);
                let first = choose(&mut *schedule, &[1, 2, 3], Some(2));
                let second = choose_after(&mut *schedule, &[1, 2, 3], first);
                assert_ne!(first, second, "{strategy:?}, seed {seed}");
                let third = choose_after(&mut *schedule, &[1, 2, 3], second);
                assert_ne!(second, third, "{strategy:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn pct_may_change_at_each_choice_of_a_run() {
        let changes = |seed| {
            let mut schedule = Strategy::Pct {
                depth: 2,
                choices: 3,
            }
            .schedule(seed);
            let mut before = choose(&mut *schedule, &[1, 2], None);
            let mut changed = None;
            for number in 2..=3 {
                let chosen = choose(&mut *schedule, &[1, 2], Some(before));
                if chosen != before {
                    changed = Some(number);
                }
                before = chosen;
            }
            changed
        };
        // The first choice's change is not seen from outside; it is a third of the seeds.
        let seen: Vec<Option<usize>> = (0..300).map(changes).collect();
        for number in [None, Some(2), Some(3)] {
            let count = seen.iter().filter(|changed| **changed == number).count();
            assert!((60..140).contains(&count), "{number:?}: {count} of 300");
        }
    }

    #[test]
    fn a_recorded_schedule_may_go_on_for_long() {
        let mut choices = vec![GO_ON; 70_000];
        choices.push(UnitId(7));
        let strategy = Strategy::Replay(choices);
        assert_eq!(Strategy::parse(&strategy.name()), Some(strategy));
        for absurd in [
            "replay-~4000000000",
            "replay-~99999999.~99999999.~99999999",
            "pct-4000000000-3",
        ] {
            assert_eq!(Strategy::parse(absurd), None, "{absurd}");
        }
    }

    #[test]
    fn round_robin_goes_round() {
        let mut schedule = Strategy::RoundRobin.schedule(0);
        let taken: Vec<u32> = (0..5)
            .map(|_| choose(&mut *schedule, &[3, 1, 2], None))
            .collect();
        assert_eq!(taken, [1, 2, 3, 1, 2]);
    }

    #[test]
    fn a_replay_repeats_and_then_goes_on_without_preemptions() {
        let choices = vec![UnitId(2), UnitId(9)];
        let mut schedule = Strategy::Replay(choices).schedule(0);
        assert_eq!(choose(&mut *schedule, &[1, 2], Some(1)), 2);
        assert_eq!(choose(&mut *schedule, &[1, 2], Some(2)), 2);
        assert_eq!(choose(&mut *schedule, &[4, 3], Some(2)), 3);
    }

    #[test]
    fn depth_first_takes_each_path_once() {
        let search = DepthFirst::default();
        let mut seen = Vec::new();
        loop {
            let mut schedule = search.run();
            let first = choose(&mut schedule, &[1, 2], None);
            let rest: &[u32] = if first == 1 { &[2, 3] } else { &[1, 3, 4] };
            seen.push((first, choose(&mut schedule, rest, None)));
            if !search.advance() {
                break;
            }
        }
        assert_eq!(seen, [(1, 2), (1, 3), (2, 1), (2, 3), (2, 4)]);
    }

    /// A search goes by places in the list, not by units: of equal turns none is left out.
    #[test]
    fn depth_first_takes_equal_turns_for_two() {
        let search = DepthFirst::default();
        let mut runs = 1;
        loop {
            let mut schedule = search.run();
            choose(&mut schedule, &[1, 1], None);
            choose(&mut schedule, &[1, 1, 2], None);
            if !search.advance() {
                break;
            }
            runs += 1;
        }
        assert_eq!(runs, 2 * 3);
    }

    #[test]
    fn pct_keeps_to_the_highest_but_where_it_changes() {
        let mut schedule = Strategy::Pct {
            depth: 1,
            choices: 100,
        }
        .schedule(5);
        let first = choose(&mut *schedule, &[1, 2, 3], None);
        for _ in 0..50 {
            assert_eq!(choose(&mut *schedule, &[3, 2, 1], Some(first)), first);
        }
        let changed = (0..100).any(|seed| {
            let mut schedule = Strategy::Pct {
                depth: 2,
                choices: 10,
            }
            .schedule(seed);
            let first = choose(&mut *schedule, &[1, 2], None);
            (0..10).any(|_| choose(&mut *schedule, &[1, 2], Some(first)) != first)
        });
        assert!(changed);
    }

    #[test]
    fn names_say_which_strategy_it_is() {
        for strategy in [
            Strategy::Random,
            Strategy::Pct {
                depth: 3,
                choices: 120,
            },
            Strategy::RoundRobin,
            Strategy::DepthFirst,
            Strategy::Replay(vec![GO_ON, GO_ON, UnitId(4), GO_ON, UnitId(2)]),
        ] {
            assert_eq!(Strategy::parse(&strategy.name()), Some(strategy));
        }
        assert_eq!(Strategy::parse("replays"), None);
    }
}

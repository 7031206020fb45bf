//! One round of placing: who has room, what is ready, and the best pair each time. Room only shrinks during a round, so whatever
//! found no place once is not asked again.

use std::collections::{BTreeMap, VecDeque};

use super::Moment;
use super::obstacle::{of_job, of_pair, of_team, of_worker};
use super::share::{Shares, running_of, team_of};
use crate::event::WorkerInfo;
use crate::state::{Matrix, Standing, Status, model_of};
use crate::{Digest, State, WorkKind, WorkerId};

pub(super) struct Round<'a> {
    state: &'a State,
    moment: Moment<'a>,
    shares: &'a mut Shares,
    free: BTreeMap<&'a WorkerId, Room<'a>>,
    running: BTreeMap<&'a str, u32>,
    queues: Vec<Queue<'a>>,
}

/// A worker that has room.
struct Room<'a> {
    info: &'a WorkerInfo,
    standing: Option<&'a Standing>,
    slots: u32,
}

/// The ready jobs of a matrix.
struct Queue<'a> {
    matrix: &'a Matrix,
    ready: BTreeMap<Sort, VecDeque<u32>>,
}

/// Jobs that are the same to every worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sort {
    kind: WorkKind,
    model: Option<Digest>,
    exceeded_mib: Option<u64>,
}

/// How near a job's base model is to a worker, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Warm,
    Cached,
    Cold,
}

impl<'a> Round<'a> {
    pub(super) fn new(state: &'a State, moment: &Moment<'a>, shares: &'a mut Shares) -> Self {
        let moment = *moment;
        let open = state.workers.iter().filter(|(id, _)| of_worker(state, id, &moment).next().is_none());
        let room = |(id, info): (&'a WorkerId, &'a WorkerInfo)| {
            let slots = moment.slots.get(id).copied().unwrap_or_default();
            (id, Room { info, standing: state.standings.get(id), slots })
        };
        let free: BTreeMap<_, _> = open.map(room).collect();
        let mut round = Self { state, moment, shares, free, running: BTreeMap::new(), queues: Vec::new() };
        if !round.free.is_empty() {
            round.look();
        }
        round
    }

    fn look(&mut self) {
        for matrix in &self.state.matrices {
            *self.running.entry(team_of(matrix)).or_default() += running_of(matrix);
            let mut ready: BTreeMap<Sort, VecDeque<u32>> = BTreeMap::new();
            for (planned, status) in matrix.submitted.plan.iter().zip(matrix.statuses()) {
                // The others have obstacles of their own, which take longer to name.
                if status != Status::Ready
                    || of_job(matrix, planned, status, self.moment.held_ms).next().is_some()
                {
                    continue;
                }
                let known = matrix.jobs.get(planned.ordinal as usize);
                let exceeded_mib = known.and_then(|known| known.memory_exceeded_mib);
                let sort = Sort { kind: planned.work.kind(), model: model_of(planned), exceeded_mib };
                ready.entry(sort).or_default().push_back(planned.ordinal);
            }
            if !ready.is_empty() {
                self.queues.push(Queue { matrix, ready });
            }
        }
    }

    /// The next pair: of the matrix whose turn it is, among those with a job that fits somewhere.
    pub(super) fn next(&mut self) -> Option<(&'a Matrix, u32, &'a WorkerId)> {
        while !self.free.is_empty() {
            let ranks = self.queues.iter().map(|queue| self.shares.rank(queue.matrix)).enumerate();
            let (place, _) = ranks.min_by_key(|(place, rank)| (*rank, *place))?;
            let matrix = self.queues[place].matrix;
            let team = team_of(matrix);
            let running = self.running.get(team).copied().unwrap_or_default();
            let limited = of_team(self.moment.teams, team, running).is_some();
            match self.best(place).filter(|_| !limited) {
                Some((sort, worker)) => {
                    let ordinal = self.take(place, sort, worker)?;
                    return Some((matrix, ordinal, worker));
                }
                // Nobody waits behind it.
                None => drop(self.queues.remove(place)),
            }
        }
        None
    }

    /// Of a queue's jobs the one whose model is nearest to a free worker, then the first; of the workers for it the nearest, then
    /// the smallest, so that larger ones stay free for what needs them, then the one with most room.
    fn best(&self, place: usize) -> Option<(Sort, &'a WorkerId)> {
        let pairs = self.queues[place].ready.iter().filter_map(|(sort, ordinals)| {
            let fits = |room: &Room<'a>| {
                of_pair(self.state, sort.kind, sort.exceeded_mib, room.info).next().is_none()
            };
            let fitting = self.free.iter().filter(|(_, room)| fits(room));
            let ranked = fitting.map(|(id, room)| {
                ((room.nearness(sort.model), room.info.memory_mib, u32::MAX - room.slots), *id)
            });
            let ((nearness, ..), worker) = ranked.min()?;
            Some((nearness, ordinals.front().copied(), *sort, worker))
        });
        pairs.min().map(|(_, _, sort, worker)| (sort, worker))
    }

    fn take(&mut self, place: usize, sort: Sort, worker: &'a WorkerId) -> Option<u32> {
        let Queue { matrix, ready } = &mut self.queues[place];
        let ordinals = ready.get_mut(&sort)?;
        let ordinal = ordinals.pop_front()?;
        if ordinals.is_empty() {
            ready.remove(&sort);
        }
        self.shares.take(matrix, self.moment.teams);
        *self.running.entry(team_of(matrix)).or_default() += 1;
        let room = self.free.get_mut(worker)?;
        room.slots -= 1;
        if room.slots == 0 {
            self.free.remove(worker);
        }
        Some(ordinal)
    }
}

impl Room<'_> {
    fn nearness(&self, model: Option<Digest>) -> Nearness {
        let had = self.standing.map_or(&[][..], |standing| &standing.models);
        match model.and_then(|model| had.iter().position(|known| *known == model)) {
            Some(0) => Nearness::Warm,
            Some(_) => Nearness::Cached,
            None => Nearness::Cold,
        }
    }
}

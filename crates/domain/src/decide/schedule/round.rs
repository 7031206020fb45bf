//! One round of placing: who has room, what is ready, and the best pair each time. Room only shrinks during a round, so whatever
//! found no place once is not asked again.

use std::collections::{BTreeMap, VecDeque};

use super::Moment;
use super::obstacle::{Obstacle, of_job, of_pair, of_team, of_worker};
use super::share::{Shares, running_of};
use crate::budget::{Account, Amount, Cap, Scope};
use crate::decide::budget::{Books, nominal};
use crate::event::WorkerInfo;
use crate::state::{JobState, Matrix, Standing, Status, model_of};
use crate::{Digest, Event, PlannedJob, State, WorkKind, WorkerId};

pub(super) struct Round<'a> {
    state: &'a State,
    moment: Moment<'a>,
    shares: &'a mut Shares,
    free: BTreeMap<&'a WorkerId, Room<'a>>,
    running: BTreeMap<&'a str, u32>,
    queues: Vec<Queue<'a>>,
    books: Books<'a>,
    /// Matrices that a budget keeps back, with what it says.
    held: Vec<(&'a Matrix, KeptBack)>,
}

/// What a budget says of a job that would fit but for it.
struct KeptBack {
    scope: Scope,
    needs: Amount,
    left: Cap,
}

/// A lease to be.
pub(super) struct Pick<'a> {
    pub(super) matrix: &'a Matrix,
    pub(super) ordinal: u32,
    pub(super) worker: &'a WorkerId,
    pub(super) account: Account,
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
    /// Whether it had a turn in this round.
    served: bool,
}

/// Jobs that are the same to every worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sort {
    kind: WorkKind,
    model: Option<Digest>,
    exceeded_mib: Option<u64>,
    /// What it costs in general; nothing where no budget counts it.
    needs: Amount,
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
        let books = Books::new(state, moment.teams, moment.at);
        let (running, queues, held) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut round = Self { state, moment, shares, free, running, queues, books, held };
        if !round.free.is_empty() {
            round.look();
        }
        round
    }

    fn look(&mut self) {
        for matrix in &self.state.matrices {
            *self.running.entry(matrix.team()).or_default() += running_of(matrix);
            let counted = self.books.covers(matrix);
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
                let needs = match known {
                    Some(known) if counted => nominal(planned, known),
                    Some(_) | None => Amount::ZERO,
                };
                let sort = Sort { kind: planned.work.kind(), model: model_of(planned), exceeded_mib, needs };
                ready.entry(sort).or_default().push_back(planned.ordinal);
            }
            if !ready.is_empty() {
                self.queues.push(Queue { matrix, ready, served: false });
            }
        }
    }

    /// The next pair: of the matrix whose turn it is, among those with a job that fits somewhere.
    pub(super) fn next(&mut self) -> Option<Pick<'a>> {
        while !self.free.is_empty() {
            let ranks = self.queues.iter().map(|queue| self.shares.rank(queue.matrix)).enumerate();
            let (place, _) = ranks.min_by_key(|(place, rank)| (*rank, *place))?;
            let matrix = self.queues[place].matrix;
            let team = matrix.team();
            let running = self.running.get(team).copied().unwrap_or_default();
            let limited = of_team(self.moment.teams, team, running).is_some();
            match self.best(place).filter(|_| !limited) {
                Some((sort, worker)) => return self.take(place, sort, worker),
                // Nobody waits behind it.
                None => {
                    let kept_back = self.kept_back(place).filter(|_| !limited);
                    let queue = self.queues.remove(place);
                    let known = matrix.held_by.as_ref();
                    let news = |told: &KeptBack| queue.served || known != Some(&told.scope);
                    self.held.extend(kept_back.filter(news).map(|told| (matrix, told)));
                }
            }
        }
        None
    }

    /// Of a queue's jobs the one whose model is nearest to a free worker, then the first; of the workers for it the nearest, then
    /// the smallest, so that larger ones stay free for what needs them, then the one with most room.
    fn best(&self, place: usize) -> Option<(Sort, &'a WorkerId)> {
        let matrix = self.queues[place].matrix;
        let counted = self.books.covers(matrix);
        let pairs = self.queues[place].ready.iter().filter_map(|(sort, ordinals)| {
            let (planned, known) = first_of(matrix, ordinals)?;
            let fits = |room: &Room<'a>| {
                of_pair(self.state, sort.kind, sort.exceeded_mib, room.info).next().is_none()
                    && (!counted || self.books.account(matrix, planned, known, room.info).is_ok())
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

    /// What a budget says of the first job that would fit somewhere but for it.
    fn kept_back(&self, place: usize) -> Option<KeptBack> {
        let Queue { matrix, ready, .. } = &self.queues[place];
        if !self.books.covers(matrix) {
            return None;
        }
        ready.iter().find_map(|(sort, ordinals)| {
            let (planned, known) = first_of(matrix, ordinals)?;
            self.free.values().find_map(|room| {
                let mut other = of_pair(self.state, sort.kind, sort.exceeded_mib, room.info);
                let account = self.books.account(matrix, planned, known, room.info);
                // What has no price is known before, and needs no event.
                let Obstacle::Budget { scope, needs, left } = *account.err()? else { return None };
                other.next().is_none().then_some(KeptBack { scope, needs, left })
            })
        })
    }

    /// The matrices that a budget has come to keep back.
    pub(super) fn held(self) -> impl Iterator<Item = Event> {
        let at = self.moment.at;
        self.held.into_iter().map(move |(matrix, KeptBack { scope, needs, left })| Event::BudgetReached {
            matrix: matrix.submitted.id.clone(),
            scope,
            needs,
            left,
            at,
        })
    }

    fn take(&mut self, place: usize, sort: Sort, worker: &'a WorkerId) -> Option<Pick<'a>> {
        let Queue { matrix, ready, served } = &mut self.queues[place];
        let matrix: &'a Matrix = matrix;
        let ordinals = ready.get_mut(&sort)?;
        let (planned, known) = first_of(matrix, ordinals)?;
        let account = self.books.account(matrix, planned, known, self.free.get(worker)?.info).ok()?;
        let ordinal = ordinals.pop_front()?;
        *served = true;
        self.books.give(matrix, account);
        if ordinals.is_empty() {
            ready.remove(&sort);
        }
        self.shares.take(matrix, self.moment.teams);
        *self.running.entry(matrix.team()).or_default() += 1;
        let room = self.free.get_mut(worker)?;
        room.slots -= 1;
        if room.slots == 0 {
            self.free.remove(worker);
        }
        Some(Pick { matrix, ordinal, worker, account })
    }
}

/// The first of some jobs, as planned and as it is.
fn first_of<'a>(matrix: &'a Matrix, ordinals: &VecDeque<u32>) -> Option<(&'a PlannedJob, &'a JobState)> {
    let place = *ordinals.front()? as usize;
    Some((matrix.submitted.plan.get(place)?, matrix.jobs.get(place)?))
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

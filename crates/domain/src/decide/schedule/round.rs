//! One round of placing: who has room, what is ready, and the best pair each time. Room only shrinks during a round, so whatever
//! found no place once is not asked again. Where all slots are taken, a generate job may still join the batch of another.

use std::collections::{BTreeMap, VecDeque};

use super::Moment;
use super::obstacle::{Obstacle, is_too_short, of_job, of_pair, of_team, of_worker};
use super::share::{Shares, running_of};
use super::wants::{Fleet, Wants};
use crate::budget::{Account, Amount, Cap, Scope};
use crate::decide::budget::{Books, nominal};
use crate::event::WorkerInfo;
use crate::job::Offer;
use crate::state::{JobState, Matrix, Standing, Status, model_of};
use crate::{Digest, Event, PlannedJob, State, Work, WorkerId};

pub(super) struct Round<'a> {
    fleet: Fleet<'a>,
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
    /// What it has left in this round.
    offer: Offer,
    /// The generate job that took its last slot: others may join its batch.
    batch: Option<&'a PlannedJob>,
}

/// The ready jobs of a matrix.
struct Queue<'a> {
    matrix: &'a Matrix,
    ready: BTreeMap<Wants, VecDeque<u32>>,
    /// Whether it had a turn in this round.
    served: bool,
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
        let fleet = Fleet::new(state, *moment);
        let open = state.workers.iter().filter(|(id, _)| of_worker(state, id, moment).next().is_none());
        let room = |(id, info): (&'a WorkerId, &'a WorkerInfo)| {
            let slots = moment.slots.get(id).copied().unwrap_or_default();
            (
                id,
                Room {
                    info,
                    standing: state.standings.get(id),
                    slots,
                    offer: fleet.offer_of(info),
                    batch: None,
                },
            )
        };
        let free: BTreeMap<_, _> = open.map(room).collect();
        let books = Books::new(state, moment.teams, moment.at);
        let (running, queues, held) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut round = Self { fleet, shares, free, running, queues, books, held };
        if !round.free.is_empty() {
            round.look();
        }
        round
    }

    fn look(&mut self) {
        for matrix in &self.fleet.state.matrices {
            *self.running.entry(matrix.team()).or_default() += running_of(matrix);
            let counted = self.books.covers(matrix);
            let mut ready: BTreeMap<Wants, VecDeque<u32>> = BTreeMap::new();
            for (planned, status) in matrix.submitted.plan.iter().zip(matrix.statuses()) {
                // The others have obstacles of their own, which take longer to name.
                if status != Status::Ready
                    || of_job(matrix, planned, status, self.fleet.moment.held_ms).next().is_some()
                {
                    continue;
                }
                let known = matrix.jobs.get(planned.ordinal as usize);
                let costs = match known {
                    Some(known) if counted => nominal(planned, known),
                    Some(_) | None => Amount::ZERO,
                };
                let wants = Wants::of(planned, known, costs, &self.fleet);
                ready.entry(wants).or_default().push_back(planned.ordinal);
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
            let limited = of_team(self.fleet.moment.teams, team, running).is_some();
            match self.best(place).filter(|_| !limited) {
                Some((wants, worker)) => return self.take(place, &wants, worker),
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

    /// Of a queue's jobs the one whose model is nearest to a free worker that stays until it is done, then the first; of the
    /// workers for it the nearest such, then the smallest, so that larger ones stay free for what needs them, then the one with
    /// most room. A batch is joined where no worker is free.
    fn best(&self, place: usize) -> Option<(Wants, &'a WorkerId)> {
        let matrix = self.queues[place].matrix;
        let counted = self.books.covers(matrix);
        let pairs = self.queues[place].ready.iter().filter_map(|(wants, ordinals)| {
            let (planned, known) = first_of(matrix, ordinals)?;
            let wanted = (wants, self.fleet.could_give(wants));
            let fits = |room: &Room<'a>| {
                room.takes(planned)
                    && of_pair(&self.fleet, wanted, room.info, room.offer).next().is_none()
                    && (!counted || self.books.account(matrix, planned, known, room.info).is_ok())
            };
            let fitting = self.free.iter().filter(|(_, room)| fits(room));
            let ranked = fitting.map(|(id, room)| {
                let nearness = (is_too_short(wants, room.info, room.offer), room.nearness(wants.model));
                ((room.slots == 0, nearness, room.info.memory_mib, u32::MAX - room.slots), *id)
            });
            let ((joins, nearness, ..), worker) = ranked.min()?;
            Some(((joins, nearness), ordinals.front().copied(), wants, worker))
        });
        pairs.min().map(|(_, _, wants, worker)| (wants.clone(), worker))
    }

    /// What a budget says of the first job that would fit somewhere but for it.
    fn kept_back(&self, place: usize) -> Option<KeptBack> {
        let Queue { matrix, ready, .. } = &self.queues[place];
        if !self.books.covers(matrix) {
            return None;
        }
        ready.iter().find_map(|(wants, ordinals)| {
            let (planned, known) = first_of(matrix, ordinals)?;
            let wanted = (wants, self.fleet.could_give(wants));
            self.free.values().filter(|room| room.takes(planned)).find_map(|room| {
                let mut other = of_pair(&self.fleet, wanted, room.info, room.offer);
                let account = self.books.account(matrix, planned, known, room.info);
                // What has no price is known before, and needs no event.
                let Obstacle::Budget { scope, needs, left } = *account.err()? else { return None };
                other.next().is_none().then_some(KeptBack { scope, needs, left })
            })
        })
    }

    /// The matrices that a budget has come to keep back.
    pub(super) fn held(self) -> impl Iterator<Item = Event> {
        let at = self.fleet.moment.at;
        self.held.into_iter().map(move |(matrix, KeptBack { scope, needs, left })| Event::BudgetReached {
            matrix: matrix.submitted.id.clone(),
            scope,
            needs,
            left,
            at,
        })
    }

    fn take(&mut self, place: usize, wants: &Wants, worker: &'a WorkerId) -> Option<Pick<'a>> {
        let Queue { matrix, ready, served } = &mut self.queues[place];
        let matrix: &'a Matrix = matrix;
        let ordinals = ready.get_mut(wants)?;
        let (planned, known) = first_of(matrix, ordinals)?;
        let account = self.books.account(matrix, planned, known, self.free.get(worker)?.info).ok()?;
        let ordinal = ordinals.pop_front()?;
        *served = true;
        self.books.give(matrix, account);
        if ordinals.is_empty() {
            ready.remove(wants);
        }
        self.shares.take(matrix, self.fleet.moment.teams);
        *self.running.entry(matrix.team()).or_default() += 1;
        let room = self.free.get_mut(worker)?;
        let memory_mib = self.fleet.could_give(wants).memory_needed_mib(wants, room.info.device);
        let lasts_s = wants.lasts_on(room.info).map_or(0, |lasts| lasts.whole_s);
        room.give(planned, [memory_mib, wants.demand.disk_mib, lasts_s]);
        if room.is_full() {
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

fn share_a_batch(one: &PlannedJob, other: &PlannedJob) -> bool {
    match (&one.work, &other.work) {
        (Work::Generate(spec), Work::Generate(others)) => {
            model_of(one) == model_of(other) && spec.shares_batch_with(others)
        }
        _ => false,
    }
}

impl<'a> Room<'a> {
    fn takes(&self, job: &PlannedJob) -> bool {
        self.slots > 0 || self.batch.is_some_and(|batch| share_a_batch(batch, job))
    }

    /// A slot, or a seat in the batch of its last slot: all of a batch use the memory of the first, and each makes it last longer.
    fn give(&mut self, job: &'a PlannedJob, [memory_mib, disk_mib, lasts_s]: [u64; 3]) {
        let joins = self.slots == 0;
        self.slots = self.slots.saturating_sub(1);
        if joins {
            self.offer.seats = self.offer.seats.saturating_sub(1);
        } else if self.slots == 0 && matches!(job.work, Work::Generate(_)) {
            self.batch = Some(job);
        }
        if self.batch.is_some() {
            self.offer.life_left_s = self.offer.life_left_s.map(|left_s| left_s.saturating_sub(lasts_s));
        }
        self.offer = self.offer.less(if self.batch.is_some() { 0 } else { memory_mib }, disk_mib);
    }

    const fn is_full(&self) -> bool {
        self.slots == 0 && (self.batch.is_none() || self.offer.seats == 0)
    }

    fn nearness(&self, model: Option<Digest>) -> Nearness {
        let had = self.standing.map_or(&[][..], |standing| &standing.models);
        match model.and_then(|model| had.iter().position(|known| *known == model)) {
            Some(0) => Nearness::Warm,
            Some(_) => Nearness::Cached,
            None => Nearness::Cold,
        }
    }
}

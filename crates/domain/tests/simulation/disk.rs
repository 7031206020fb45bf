//! A disk that takes long: what a batch has decided is not answered before its sync, nothing else is heard meanwhile, words pile
//! up, leases run out unheard, and a crash takes the batch back.

use crate::world::LEASE_MS;
use crate::*;

/// On a slow disk, one batch in so many syncs slowly.
const SLOW_ONE_IN: u64 = 12;

/// A sync under way.
pub(crate) struct Sync {
    /// The coordinator as the disk has it: what a crash leaves.
    before: Box<Coordinator>,
    /// When it is done.
    until: u64,
    /// For when it is done.
    answer: Answer,
    /// What has come meanwhile, in that order.
    waiting: Vec<Word>,
}

/// What the coordinator says to a word.
pub(crate) struct Answer {
    word: Word,
    offer: Vec<Lease>,
    limit: Option<Amount>,
}

impl Simulation<'_> {
    /// A word reaches the coordinator, which hears it now or after the sync.
    pub(crate) fn arrive(&mut self, word: Word) {
        if let Some(sync) = &mut self.sync {
            sync.waiting.push(word);
            return;
        }
        let slow = self.slow_disk && self.faults && self.below(SLOW_ONE_IN) == 0;
        let before = slow.then(|| Box::new(self.coordinator.clone()));
        let offer = self.coordinator.hear(&word);
        let answer = Answer { word, offer, limit: self.coordinator.limit.take() };
        match before {
            Some(before) if before.log.len() < self.coordinator.log.len() => {
                let until = self.coordinator.now + 1 + self.below(LEASE_MS * 3 / 2);
                self.sync = Some(Sync { before, until, answer, waiting: Vec::new() });
            }
            Some(_) | None => self.answer(answer),
        }
    }

    fn answer(&mut self, Answer { word, offer, limit }: Answer) {
        if let Word::More(lease, _) = &word {
            let held = self.workers.iter_mut().flat_map(|worker| &mut worker.holds);
            if let Some(held) = held.into_iter().find(|held| held.lease == *lease) {
                match limit {
                    Some(limit) => held.limit = limit,
                    None => held.refused = true,
                }
            }
        }
        if !offer.is_empty() {
            let lost = self.faults && self.below(10) == 0;
            let Word::Ask(id) = &word else { panic!("an offer to someone who did not ask") };
            let worker = self.workers.iter_mut().find(|worker| worker.id == *id).expect("a known worker");
            // An answer to a question that was heard twice finds the worker busy.
            if !lost && worker.holds.is_empty() {
                offer.into_iter().for_each(|lease| worker.take(lease, &self.coordinator));
            }
        }
    }

    /// A step while the disk is busy, if it is: only workers and the network go on. No lease ends before those were heard that spoke
    /// meanwhile.
    pub(crate) fn waits_for_the_disk(&mut self) -> bool {
        let now = self.coordinator.now;
        match &self.sync {
            None => return false,
            Some(sync) if sync.until <= now => self.synced(),
            Some(_) => match self.below(100) {
                0..3 => self.crash_before_the_sync(),
                3..55 => self.worker_speaks(),
                _ => self.deliver(),
            },
        }
        self.sync.is_some()
    }

    /// The batch is durable: its answer leaves, and what waited is heard, perhaps with another slow sync.
    fn synced(&mut self) {
        let Some(Sync { answer, waiting, .. }) = self.sync.take() else { return };
        self.coordinator.observer.seen.slow_syncs += 1;
        self.answer(answer);
        waiting.into_iter().for_each(|word| self.arrive(word));
    }

    /// As if the disk had never been slow from now on.
    pub(crate) fn sync_to_the_end(&mut self) {
        while self.sync.is_some() {
            self.synced();
        }
    }

    /// Nothing of the batch is left but what happened in the store, and nobody was answered: some say it again.
    fn crash_before_the_sync(&mut self) {
        let Some(Sync { before, answer, waiting, .. }) = self.sync.take() else { return };
        let after = std::mem::replace(&mut self.coordinator, *before);
        self.coordinator.now = after.now;
        self.coordinator.objects = after.objects;
        self.coordinator.restart();
        self.coordinator.observer.seen.taken_back += 1;
        for word in std::iter::once(answer.word).chain(waiting) {
            if self.below(2) == 0 {
                self.network.push(word);
            }
        }
        for held in self.workers.iter().flat_map(|worker| &worker.holds) {
            assert!(knows(&self.coordinator, &held.lease), "{} was offered and is not known", held.lease);
        }
    }
}

fn knows(coordinator: &Coordinator, lease: &Lease) -> bool {
    let archived = || coordinator.archive.get(&lease.job.matrix)?.jobs.get(lease.job.ordinal as usize);
    coordinator.state.job(&lease.job).or_else(archived).is_some_and(|job| job.attempt(lease.fence).is_some())
}

//! What the engine knows and never stores: deadlines, holds, progress, connections. Lost at a restart without harm.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use assay_domain::decide::schedule::Shares;
use assay_domain::job::Offer;
use assay_domain::{JobId, Lease, ObjectKey, Progress, WorkerId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::command::{ConnectionId, Outbound};

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) leases: BTreeMap<Lease, LeaseRow>,
    /// Jobs held back after a failure, until when.
    pub(super) holds: BTreeMap<JobId, u64>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// Registered workers without a connection, since when: after a restart, all of them since then.
    pub(super) gone: BTreeMap<WorkerId, u64>,
    /// Workers in quarantine, since when: after a restart, all of them since then.
    pub(super) quarantined: BTreeMap<WorkerId, u64>,
    /// Parts of ledgers that nobody is told to read any more.
    pub(super) lost_parts: BTreeSet<ObjectKey>,
    /// Whose turn it is.
    pub(super) shares: Shares,
    next_connection: u64,
    /// The connection of each worker that has one.
    by_worker: HashMap<WorkerId, ConnectionId>,
    /// No lease is due before then, though none may be then: what renewals put off is seen when this comes.
    quiet_until_ms: u64,
}

/// A running attempt.
#[derive(Debug)]
pub(super) struct LeaseRow {
    pub(super) worker: WorkerId,
    /// When its lease runs out.
    pub(super) deadline_ms: u64,
    /// When its worker must have come back, after its connection closed.
    pub(super) back_by_ms: Option<u64>,
    /// Whether its worker has ever spoken of it: it did arrive.
    pub(super) heard: bool,
    /// Whether an earlier process offered it, and knew what was heard of it then.
    pub(super) inherited: bool,
    pub(super) progress: Option<Progress>,
}

impl LeaseRow {
    pub(super) fn new(worker: WorkerId, deadline_ms: u64) -> Self {
        Self { worker, deadline_ms, back_by_ms: None, heard: false, inherited: false, progress: None }
    }

    /// Whether its worker may have done some of it.
    pub(super) fn may_have_begun(&self) -> bool {
        self.heard || self.inherited
    }

    pub(super) fn due_ms(&self) -> u64 {
        self.deadline_ms.min(self.back_by_ms.unwrap_or(u64::MAX))
    }
}

/// A worker's stream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) worker: WorkerId,
    pub(super) outbound: mpsc::Sender<Outbound>,
    pub(super) end: CancellationToken,
    /// How many more attempts it would take.
    pub(super) slots: u32,
    /// What it said that it has to offer, less what it was given since, and when.
    pub(super) offer: Offer,
    pub(super) offered_ms: u64,
}

impl Connection {
    /// One that has not said yet what it would take.
    pub(super) fn new(worker: WorkerId, outbound: mpsc::Sender<Outbound>, end: CancellationToken) -> Self {
        Self { worker, outbound, end, slots: 0, offer: Offer::default(), offered_ms: 0 }
    }
}

impl Tables {
    pub(super) fn connect(&mut self, connection: Connection) -> ConnectionId {
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        self.gone.remove(&connection.worker);
        self.by_worker.insert(connection.worker.clone(), id);
        self.connections.insert(id, connection);
        id
    }

    pub(super) fn connection_of(&self, worker: &WorkerId) -> Option<ConnectionId> {
        self.by_worker.get(worker).copied()
    }

    /// The connection is closed: its worker has until the grace ends to come back.
    pub(super) fn disconnect(&mut self, id: ConnectionId, now_ms: u64, back_by_ms: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        connection.end.cancel();
        if self.connection_of(&connection.worker) != Some(id) {
            return;
        }
        self.by_worker.remove(&connection.worker);
        self.quiet_until_ms = self.quiet_until_ms.min(back_by_ms);
        for row in self.leases.values_mut().filter(|row| row.worker == connection.worker) {
            row.back_by_ms = Some(back_by_ms);
        }
        self.gone.insert(connection.worker, now_ms);
    }

    /// An attempt runs from now on.
    pub(super) fn leased(&mut self, lease: Lease, row: LeaseRow) {
        self.quiet_until_ms = self.quiet_until_ms.min(row.due_ms());
        self.leases.insert(lease, row);
    }

    /// Its worker is heard: the lease lasts a full term from now, and no less than it did, since its worker may not hear of a shorter term.
    pub(super) fn renewed(&mut self, lease: &Lease, deadline_ms: u64) {
        if let Some(row) = self.leases.get_mut(lease) {
            row.deadline_ms = row.deadline_ms.max(deadline_ms);
            row.back_by_ms = None;
            row.heard = true;
        }
    }

    /// Its worker has made something of it.
    pub(super) fn begun(&mut self, lease: &Lease) {
        if let Some(row) = self.leases.get_mut(lease) {
            row.heard = true;
        }
    }

    /// The leases that are due.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Lease> {
        if now_ms < self.quiet_until_ms {
            return Vec::new();
        }
        let (due, later): (Vec<_>, Vec<_>) = self.leases.iter().partition(|(_, row)| row.due_ms() <= now_ms);
        self.quiet_until_ms = later.iter().map(|(_, row)| row.due_ms()).min().unwrap_or(u64::MAX);
        due.into_iter().map(|(lease, _)| lease.clone()).collect()
    }

    /// Ends holds that are over; answers whether there were any.
    pub(super) fn end_holds(&mut self, now_ms: u64) -> bool {
        let before = self.holds.len();
        self.holds.retain(|_, until_ms| *until_ms > now_ms);
        self.holds.len() != before
    }

    /// The jobs held back, each for how long.
    pub(super) fn held_ms(&self, now_ms: u64) -> BTreeMap<JobId, u64> {
        let left = |until_ms: &u64| until_ms.saturating_sub(now_ms);
        self.holds.iter().map(|(job, until_ms)| (job.clone(), left(until_ms))).collect()
    }

    /// The workers that are there, each with its free places.
    pub(super) fn slots(&self) -> BTreeMap<WorkerId, u32> {
        self.connections.values().map(|connection| (connection.worker.clone(), connection.slots)).collect()
    }

    /// What workers have to offer now, where they say so.
    pub(super) fn offers(&self, now_ms: u64) -> BTreeMap<WorkerId, Offer> {
        let saying = self.connections.values().filter(|connection| connection.offer != Offer::default());
        let now = |connection: &Connection| {
            let passed_s = now_ms.saturating_sub(connection.offered_ms) / 1_000;
            let life_left_s = connection.offer.life_left_s.map(|left_s| left_s.saturating_sub(passed_s));
            (connection.worker.clone(), Offer { life_left_s, ..connection.offer })
        };
        saying.map(now).collect()
    }

    /// Nothing is due before then.
    pub(super) fn next_due_ms(&self) -> u64 {
        let holds = self.holds.values().copied();
        holds.chain([self.quiet_until_ms]).min().unwrap_or(u64::MAX)
    }

    /// The engine did not listen for a while (the machine slept): nobody's time ran meanwhile.
    pub(super) fn postpone(&mut self, by_ms: u64) {
        for row in self.leases.values_mut() {
            row.deadline_ms = row.deadline_ms.saturating_add(by_ms);
            row.back_by_ms = row.back_by_ms.map(|back_by_ms| back_by_ms.saturating_add(by_ms));
        }
    }
}

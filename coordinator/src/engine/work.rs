//! What workers say, in the order of an attempt's life, and what becomes of those that are not heard.

use std::collections::BTreeMap;

use assay_domain::budget::Amount;
use assay_domain::decide::schedule::Moment;
use assay_domain::decide::{self, BackOff, Failed, Memory};
use assay_domain::job::{Demand, FailureClass, Offer};
use assay_domain::state::ReadSet;
use assay_domain::{Assignment, DeviceKind, Event, FileRef, JobId, Lease, Progress, Rejection, WorkerId};

use super::archive::winner_of;
use super::assignment::{assignment, input_files};
use super::command::{
    CheckpointedItem, CompletedItem, Connected, ConnectionId, FailedItem, Hello, ItemAnswers, Outbound,
    Renewed, Reply, StopReason, TooManyConnections,
};
use super::tables::{Connection, LeaseRow};
use super::{Engine, EngineError};

impl Engine {
    /// A worker comes, or comes back: what still runs there is its own again, what it never got is handed out again.
    pub(super) fn connect(
        &mut self,
        hello: Hello,
        reply: Reply<Result<Connected, TooManyConnections>>,
    ) -> Result<(), EngineError> {
        let Hello { worker, running, outbound, end } = hello;
        if let Some(old) = self.tables.connection_of(&worker.id) {
            self.disconnected(old);
        }
        if self.tables.connections.len() >= self.limits.connections_max {
            self.answer(reply, Err(TooManyConnections));
            return Ok(());
        }
        let id = worker.id.clone();
        self.record_all(decide::register(&self.state, worker, self.clock.unix()))?;
        let stale = self.attach(&id, &running)?;
        self.release_undelivered(&id, &running)?;
        let connection = self.tables.connect(Connection::new(id.clone(), outbound, end));
        let (epoch, lease_ms) = (self.state.epoch, self.term_ms());
        // The first message of the stream: sent with the batch, before anything that is said to this connection later.
        self.say(connection, Outbound::Welcome { epoch, lease_ms, stale });
        self.hand_back(&id, None);
        self.ask_to_save(&id);
        self.answer(reply, Ok(Connected { connection }));
        self.batch.visible = true;
        Ok(())
    }

    fn attach(&mut self, worker: &WorkerId, running: &[Lease]) -> Result<Vec<Lease>, EngineError> {
        let deadline_ms = self.now_ms + self.term_ms();
        let mut stale = Vec::new();
        for lease in running {
            let its_own = self.tables.leases.get(lease).is_some_and(|row| row.worker == *worker);
            if its_own && decide::renew(&self.state, lease).is_ok() {
                self.tables.renewed(lease, deadline_ms);
            } else if !self.has_won(lease)? {
                stale.push(lease.clone());
            }
        }
        Ok(stale)
    }

    /// The answer to its completion may have been lost: then it says it again, and hears that it counts.
    fn has_won(&self, lease: &Lease) -> Result<bool, EngineError> {
        let won = match self.state.matrix(&lease.job.matrix) {
            Some(matrix) => winner_of(matrix, &lease.job),
            None => self.archived_winner(lease)?.map(|winner| winner.fence),
        };
        Ok(won == Some(lease.fence))
    }

    fn release_undelivered(&mut self, worker: &WorkerId, running: &[Lease]) -> Result<(), EngineError> {
        let rows = self.tables.leases.iter();
        let lost = rows.filter(|(lease, row)| row.worker == *worker && !running.contains(lease));
        let lost: Vec<(Lease, bool)> = lost.map(|(lease, row)| (lease.clone(), row.heard)).collect();
        for (lease, heard) in lost {
            let reason = "the worker does not have it: the offer did not arrive, or was lost";
            let events = self.given_up(&lease, heard, reason);
            self.record_all(events)?;
        }
        Ok(())
    }

    /// What becomes of an attempt that its worker does not have, or does not speak of.
    fn given_up(&self, lease: &Lease, begun: bool, reason: &str) -> Vec<Event> {
        let (policy, at) = (self.policy(), self.clock.unix());
        // What ran there and runs no more may have brought its worker down.
        if begun {
            return decide::expire(&self.state, policy, std::slice::from_ref(lease), at);
        }
        // It cost nothing: a worker begins when its first renewal is answered.
        let (reason, used) = (reason.to_owned(), Some(Amount::ZERO));
        let failed = Failed { class: FailureClass::Released, reason, lost: Vec::new(), used };
        decide::fail(&self.state, policy, lease, failed, at).unwrap_or_default()
    }

    pub(super) fn disconnected(&mut self, connection: ConnectionId) {
        self.tables.disconnect(connection, self.now_ms, self.now_ms + self.limits.reconnect_grace_ms);
        self.batch.visible = true;
    }

    pub(super) fn ready(&mut self, connection: ConnectionId, slots: u32, offer: Offer) {
        if let Some(connection) = self.tables.connections.get_mut(&connection) {
            connection.slots = slots.min(self.limits.slots_max);
            let seats = offer.seats.min(self.limits.slots_max);
            (connection.offer, connection.offered_ms) = (Offer { seats, ..offer }, self.now_ms);
            self.batch.assign = true;
        }
    }

    pub(super) fn renew(
        &mut self,
        connection: ConnectionId,
        renewals: Vec<(Lease, Option<Progress>)>,
        reply: Reply<Renewed>,
    ) {
        let lease_ms = self.term_ms();
        let deadline_ms = self.now_ms + lease_ms;
        let heard = self.tables.connections.contains_key(&connection);
        let mut answers = Vec::with_capacity(renewals.len());
        for (lease, progress) in renewals {
            let outcome = decide::renew(&self.state, &lease);
            if outcome.is_ok() && heard {
                self.tables.renewed(&lease, deadline_ms);
            }
            if let (Some(row), Some(progress)) = (self.tables.leases.get_mut(&lease), progress) {
                row.progress = Some(progress);
                self.batch.visible = true;
            }
            answers.push(outcome);
        }
        self.answer(reply, Renewed { items: answers, lease_ms });
    }

    pub(super) fn checkpointed(
        &mut self,
        items: Vec<CheckpointedItem>,
        reply: Reply<ItemAnswers>,
    ) -> Result<(), EngineError> {
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let CheckpointedItem { lease, step, adapter, resume, refused } = item;
            let decided = decide::checkpointed(&self.state, &lease, step, adapter, resume, self.clock.unix());
            answers.push(self.take(decided, refused)?);
        }
        self.answer(reply, answers);
        Ok(())
    }

    pub(super) fn completed(
        &mut self,
        items: Vec<CompletedItem>,
        reply: Reply<ItemAnswers>,
    ) -> Result<(), EngineError> {
        let mut answers = Vec::with_capacity(items.len());
        for CompletedItem { lease, outputs, usage, refused } in items {
            let read = ReadSet { winner: self.archived_winner(&lease)?, ..ReadSet::default() };
            let decided = decide::complete(&self.state, &read, &lease, outputs, usage, self.clock.unix());
            answers.push(self.take(decided, refused)?);
        }
        self.answer(reply, answers);
        Ok(())
    }

    pub(super) fn input_files(
        &mut self,
        lease: &Lease,
        reply: Reply<Vec<FileRef>>,
    ) -> Result<(), EngineError> {
        let current = decide::renew(&self.state, lease).is_ok();
        let files = match self.state.matrix(&lease.job.matrix).filter(|_| current) {
            Some(matrix) => input_files(matrix, lease, self.ledgers(matrix, lease)?),
            None => Vec::new(),
        };
        self.answer(reply, files);
        Ok(())
    }

    pub(super) fn failed(
        &mut self,
        items: Vec<FailedItem>,
        reply: Reply<ItemAnswers>,
    ) -> Result<(), EngineError> {
        let mut answers = Vec::with_capacity(items.len());
        for FailedItem { lease, failed } in items {
            for lost in &failed.lost {
                self.lost_part(&lost.file.key);
            }
            let decided = decide::fail(&self.state, self.policy(), &lease, failed, self.clock.unix());
            answers.push(self.take(decided, None)?);
        }
        self.answer(reply, answers);
        Ok(())
    }

    /// What was decided happens, unless the objects that it names were not there. A stale or repeated word is answered as
    /// such before that.
    pub(super) fn take(
        &mut self,
        decided: Result<Vec<Event>, Rejection>,
        refused: Option<Rejection>,
    ) -> Result<Result<(), Rejection>, EngineError> {
        match (decided, refused) {
            (Err(rejection), _) => Ok(Err(rejection)),
            (Ok(events), Some(refused)) if !events.is_empty() => Ok(Err(refused)),
            (Ok(events), _) => {
                self.record_all(events)?;
                Ok(Ok(()))
            }
        }
    }

    fn archived_winner(&self, lease: &Lease) -> Result<Option<Lease>, EngineError> {
        if self.state.matrix(&lease.job.matrix).is_some() {
            return Ok(None);
        }
        let fence = self.find(&lease.job.matrix)?.and_then(|matrix| winner_of(&matrix, &lease.job));
        Ok(fence.map(|fence| Lease { job: lease.job.clone(), fence }))
    }

    /// Attempts whose worker was not heard in time are lost.
    pub(super) fn expire(&mut self) -> Result<(), EngineError> {
        if self.tables.end_holds(self.now_ms) {
            self.batch.assign = true;
        }
        let due = self.tables.due(self.now_ms);
        for lease in &due {
            tracing::warn!(lease = %lease, "the lease ran out: its worker was not heard");
        }
        // One by one: each decision sees what the one before did to the matrix.
        for lease in due {
            let begun = self.tables.leases.get(&lease).is_none_or(LeaseRow::may_have_begun);
            let events = self.given_up(&lease, begun, "its worker said nothing since it was offered");
            self.record_all(events)?;
            self.tables.leases.remove(&lease);
        }
        Ok(())
    }

    /// Workers that are gone for long leave the state.
    pub(super) fn forget(&mut self) -> Result<(), EngineError> {
        let limits =
            Memory { gone_ms: self.limits.gone_worker_ms, gone_workers_max: self.limits.gone_workers_max };
        let events = decide::forget(&self.state, limits, &self.tables.gone, self.now_ms, self.clock.unix());
        for event in &events {
            if let Event::WorkerForgotten { worker, .. } = event {
                self.tables.gone.remove(worker);
                // A job that waited for its memory may go elsewhere now.
                self.batch.assign = true;
            }
        }
        self.record_all(events)
    }

    /// Jobs that are ready go to workers that have room.
    pub(super) fn offer(&mut self) -> Result<(), EngineError> {
        if !std::mem::take(&mut self.batch.assign) {
            return Ok(());
        }
        let slots = self.tables.slots();
        if slots.values().all(|slots| *slots == 0) {
            return Ok(());
        }
        let held_ms = self.tables.held_ms(self.now_ms);
        let (teams, at) = (&self.limits.teams, self.clock.unix());
        let offers = self.tables.offers(self.now_ms);
        let moment = Moment { slots: &slots, offers: &offers, held_ms: &held_ms, teams, at };
        // What a worker gets in one round it hears at once: it answers in one batch where it can.
        let mut offers = BTreeMap::<ConnectionId, Vec<Assignment>>::new();
        for event in decide::place(&self.state, &moment, &mut self.tables.shares) {
            if let Some((connection, assignment)) = self.lease_one(event)? {
                offers.entry(connection).or_default().push(assignment);
            }
        }
        for (connection, assignments) in offers {
            self.say(connection, Outbound::Offers(assignments));
        }
        self.batch.assign = false;
        Ok(())
    }

    /// What is to be offered to whom, if it is a lease and the worker is still there.
    fn lease_one(&mut self, leased: Event) -> Result<Option<(ConnectionId, Assignment)>, EngineError> {
        let Event::JobLeased { lease, worker, .. } = &leased else {
            self.record(leased)?;
            return Ok(None);
        };
        let (lease, worker, connection) = (lease.clone(), worker.clone(), self.tables.connection_of(worker));
        if assay_telemetry::sends_traces() {
            self.batch.spans.push(lease_span(&lease, &worker));
        }
        self.record(leased)?;
        let device = self.state.workers.get(&worker).map_or(DeviceKind::None, |worker| worker.device);
        let mut demand = Demand::default();
        let offer = match self.state.matrix(&lease.job.matrix) {
            Some(matrix) => {
                let planned = matrix.submitted.plan.get(lease.job.ordinal as usize);
                demand = planned.map(|planned| planned.demand).unwrap_or_default();
                let ledgers = self.ledgers(matrix, &lease)?;
                assignment(matrix, &self.state.workers, &lease, ledgers, self.term_ms())
            }
            None => None,
        };
        let Some(connection) = connection else { return Ok(None) };
        if let Some(connection) = self.tables.connections.get_mut(&connection) {
            connection.slots = connection.slots.saturating_sub(1);
            // Until the worker says what is left.
            let memory_mib = demand.memory_on(device).whole_mib;
            connection.offer = connection.offer.less(memory_mib, demand.disk_mib);
        }
        Ok(offer.map(|assignment| (connection, assignment)))
    }

    /// What a lease that begins or is renewed now lasts.
    fn term_ms(&self) -> u64 {
        self.limits.term_ms(self.tables.connections.len())
    }

    pub(super) fn say(&mut self, connection: ConnectionId, message: Outbound) {
        self.batch.outbound.push((connection, message));
    }

    /// Keeps the tables in step with an event that was just applied.
    pub(super) fn note(&mut self, event: &Event) {
        self.note_standing(event);
        self.note_budget(event);
        match event {
            Event::JobLeased { lease, worker, .. } => {
                let deadline_ms = self.now_ms + self.term_ms();
                self.tables.leased(lease.clone(), LeaseRow::new(worker.clone(), deadline_ms));
                tracing::debug!(lease = %lease, worker = %worker, "leased");
            }
            Event::JobSucceeded { lease, .. } => {
                self.tables.leases.remove(lease);
                tracing::debug!(lease = %lease, "succeeded");
            }
            Event::AttemptFailed { lease, class, reason, .. } => {
                self.tables.leases.remove(lease);
                tracing::warn!(lease = %lease, ?class, reason, "attempt failed");
                if class.counts() {
                    self.hold(lease);
                }
            }
            Event::AttemptLost { lease, .. } => {
                self.stop(lease, StopReason::Stale);
                self.tables.leases.remove(lease);
                self.hold(lease);
            }
            Event::ArtifactLost { job, reason, .. } => {
                tracing::error!(job = %job, reason, "an artifact was lost: its job runs again");
                self.stop_stale(job);
            }
            Event::MatrixCancelled { matrix, .. } => {
                let leases = self.tables.leases.keys().filter(|lease| lease.job.matrix == *matrix);
                for lease in leases.cloned().collect::<Vec<_>>() {
                    self.stop(&lease, StopReason::Cancelled);
                    self.tables.leases.remove(&lease);
                }
            }
            Event::JobCancelled { job, .. } => {
                let of_job = self.tables.leases.keys().find(|lease| lease.job == *job).cloned();
                if let Some(lease) = of_job {
                    self.stop(&lease, StopReason::Cancelled);
                    self.tables.leases.remove(&lease);
                }
                self.tables.holds.remove(job);
            }
            Event::MatrixArchived { matrix, .. } => self.tables.holds.retain(|job, _| job.matrix != *matrix),
            Event::Checkpointed { lease, .. } | Event::Logged { lease, .. } => self.tables.begun(lease),
            Event::EpochRaised { .. }
            | Event::HistoryForgotten { .. }
            | Event::BackupTaken { .. }
            | Event::BackupFailed { .. }
            | Event::MatrixSubmitted { .. }
            | Event::JobReused { .. }
            | Event::WorkerRegistered { .. }
            | Event::WorkerForgotten { .. }
            | Event::MatrixPaused { .. }
            | Event::MatrixResumed { .. }
            | Event::MatrixBudgeted { .. }
            | Event::BudgetReached { .. }
            | Event::SpendGranted { .. }
            | Event::WorkerQuarantined { .. }
            | Event::WorkerDraining { .. }
            | Event::WorkerLifted { .. }
            | Event::JobFailed { .. } => {}
        }
    }

    /// An attempt that cannot bring what was lost ends.
    fn stop_stale(&mut self, job: &JobId) {
        let of_job = self.tables.leases.keys().filter(|lease| lease.job == *job);
        let stale = of_job.filter(|lease| decide::renew(&self.state, lease).is_err());
        for lease in stale.cloned().collect::<Vec<_>>() {
            self.stop(&lease, StopReason::Stale);
            self.tables.leases.remove(&lease);
        }
    }

    /// Tells the worker, if it is there, to stop an attempt.
    pub(super) fn stop(&mut self, lease: &Lease, reason: StopReason) {
        let Some(row) = self.tables.leases.get(lease) else { return };
        if let Some(connection) = self.tables.connection_of(&row.worker) {
            self.say(connection, Outbound::Stops(vec![(lease.clone(), reason)]));
        }
    }

    /// A job that just failed waits a while before its next attempt.
    fn hold(&mut self, lease: &Lease) {
        let Some(job) = self.state.job(&lease.job) else { return };
        let back_off =
            BackOff { first_ms: self.limits.retry_hold_ms, longest_ms: self.limits.retry_hold_max_ms };
        let until_ms = self.now_ms + back_off.pause_ms(&lease.job, job);
        self.tables.holds.insert(lease.job.clone(), until_ms);
    }
}

/// Part of the matrix's trace: from the decision until it is durable.
fn lease_span(lease: &Lease, worker: &WorkerId) -> tracing::Span {
    let span = tracing::info_span!(
        "lease",
        assay.job = %lease.job,
        assay.fence = %lease.fence,
        assay.worker = %worker,
    );
    assay_telemetry::propagate::attach_parent(&span, &assay_proto::convert::traceparent(&lease.job.matrix));
    span
}

//! What people do with what is under way: cancel, pause, drain, lift; and why a job is not on a worker.

use assay_domain::budget::Cap;
use assay_domain::decide::schedule::{Explanation, Moment, explain};
use assay_domain::decide::{self};
use assay_domain::state::DrainMode;
use assay_domain::{Event, JobId, Lease, MatrixId, Rejection, WorkerId};

use super::command::{Outbound, Reply, StopReason};
use super::{Engine, EngineError};

/// What a person changes.
#[derive(Debug)]
pub(crate) enum Steering {
    Cancel(MatrixId),
    /// With `branch`, also all that needs the job.
    CancelJob {
        job: JobId,
        branch: bool,
    },
    Pause(MatrixId),
    Unpause(MatrixId),
    Drain {
        worker: WorkerId,
        mode: DrainMode,
    },
    Lift(WorkerId),
    Budget {
        matrix: MatrixId,
        budget: Cap,
    },
}

impl Steering {
    const fn matrix(&self) -> Option<&MatrixId> {
        match self {
            Self::Cancel(matrix) | Self::Pause(matrix) | Self::Unpause(matrix) => Some(matrix),
            Self::CancelJob { job, .. } => Some(&job.matrix),
            Self::Budget { matrix, .. } => Some(matrix),
            Self::Drain { .. } | Self::Lift(_) => None,
        }
    }
}

impl Engine {
    /// Answers whether anything changed; in a finished matrix nothing does.
    pub(super) fn steer(
        &mut self,
        steering: &Steering,
        reply: Reply<Result<bool, Rejection>>,
    ) -> Result<(), EngineError> {
        let finished = match steering.matrix() {
            Some(matrix) => self.state.matrix(matrix).is_none() && self.find(matrix)?.is_some(),
            None => false,
        };
        let decided = if finished { Ok(Vec::new()) } else { self.decide_steering(steering) };
        let outcome = match decided {
            Ok(events) => {
                let changed = !events.is_empty();
                self.record_all(events)?;
                Ok(changed)
            }
            Err(rejection) => Err(rejection),
        };
        self.answer(reply, outcome);
        Ok(())
    }

    fn decide_steering(&self, steering: &Steering) -> Result<Vec<Event>, Rejection> {
        let (state, at) = (&self.state, self.clock.unix());
        match steering {
            Steering::Cancel(matrix) => decide::cancel(state, matrix, at),
            Steering::CancelJob { job, branch } => decide::cancel_job(state, job, *branch, at),
            Steering::Pause(matrix) => decide::pause(state, matrix, at),
            Steering::Unpause(matrix) => decide::unpause(state, matrix, at),
            Steering::Drain { worker, mode } => decide::drain(state, worker, *mode, at),
            Steering::Lift(worker) => decide::lift(state, worker, at),
            Steering::Budget { matrix, budget } => decide::set_budget(state, matrix, *budget, at),
        }
    }

    pub(super) fn explain(
        &mut self,
        job: &JobId,
        reply: Reply<Result<Explanation, Rejection>>,
    ) -> Result<(), EngineError> {
        let (slots, held_ms) = (self.tables.slots(), self.tables.held_ms(self.now_ms));
        let (teams, at) = (&self.limits.teams, self.clock.unix());
        let offers = self.tables.offers(self.now_ms);
        let moment = Moment { slots: &slots, offers: &offers, held_ms: &held_ms, teams, at };
        let outcome = match self.find(&job.matrix)? {
            Some(matrix) => explain(&self.state, &matrix, job.ordinal, &moment),
            None => Err(Rejection::UnknownMatrix { matrix: job.matrix.clone() }),
        };
        self.answer(reply, outcome);
        Ok(())
    }

    /// Workers whose quarantine has lasted long enough get another chance.
    pub(super) fn lift_due(&mut self) -> Result<(), EngineError> {
        let (since_ms, limit_ms) = (&self.tables.quarantined, self.limits.quarantine_ms);
        let due = decide::lift_due(&self.state, limit_ms, since_ms, self.now_ms, self.clock.unix());
        self.record_all(due)
    }

    /// Asks a draining worker to save what can go on elsewhere; it is handed back when that is heard.
    pub(super) fn ask_to_save(&mut self, worker: &WorkerId) {
        let leases = decide::to_save(&self.state, worker);
        if let Some(connection) = self.tables.connection_of(worker).filter(|_| !leases.is_empty()) {
            self.say(connection, Outbound::Saves(leases));
        }
    }

    /// Tells a draining worker which attempts it hands back now. What it says then is heard as from any other.
    pub(super) fn hand_back(&mut self, worker: &WorkerId, saved: Option<&Lease>) {
        for lease in decide::to_hand_back(&self.state, worker, saved) {
            self.stop(&lease, StopReason::Drain);
        }
    }

    /// The tables follow how a worker stands.
    pub(super) fn note_standing(&mut self, event: &Event) {
        if let Event::WorkerQuarantined { worker, reason, .. } = event {
            tracing::error!(worker = %worker, reason, "in quarantine: a person should look at it");
            self.tables.quarantined.insert(worker.clone(), self.now_ms);
        } else if let Event::WorkerDraining { worker, mode, .. } = event {
            tracing::info!(worker = %worker, ?mode, "draining");
            self.hand_back(worker, None);
            self.ask_to_save(worker);
        } else if let Event::WorkerLifted { worker, .. } | Event::WorkerForgotten { worker, .. } = event {
            self.tables.quarantined.remove(worker);
        } else if let Event::Checkpointed { lease, .. } = event
            && let Some(row) = self.tables.leases.get(lease)
        {
            let worker = row.worker.clone();
            self.hand_back(&worker, Some(lease));
        }
    }
}

//! What is done to an attempt from outside: it is asked to save what it has, handed back or failed (it still speaks), or lost (it
//! must say nothing).

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::attempt::released;

use crate::executor::Failure;
use crate::lease::Lost;

#[derive(Clone, Default)]
pub(crate) struct Stop {
    cancelled: CancellationToken,
    silenced: CancellationToken,
    why: Arc<OnceLock<Lost>>,
    failure: Arc<OnceLock<Failure>>,
    save: Arc<Notify>,
    hand_over: Arc<AtomicBool>,
}

impl Stop {
    /// The agent shuts down: the run must end, and the attempt is handed back unless it finished.
    pub(crate) fn hand_back(&self) {
        self.cancelled.cancel();
    }

    /// The run must end, and this is why the attempt failed, unless it finished.
    pub(crate) fn fail(&self, failure: Failure) {
        self.failure.get_or_init(|| failure);
        self.cancelled.cancel();
    }

    /// What is said of a run that was cancelled.
    pub(crate) fn failure(&self) -> Failure {
        self.failure.get().cloned().unwrap_or_else(released)
    }

    /// The run should save a checkpoint soon, and go on.
    pub(crate) fn save(&self) {
        self.save.notify_one();
    }

    /// The run should save a checkpoint soon; once that is heard, the attempt is handed back.
    pub(crate) fn hand_over(&self) {
        self.hand_over.store(true, Ordering::SeqCst);
        self.save();
    }

    /// A checkpoint is safe.
    pub(crate) fn saved(&self) {
        if self.hand_over.load(Ordering::SeqCst) {
            self.hand_back();
        }
    }

    /// Returns when a checkpoint is asked for; once for each time, or for several at once.
    pub(crate) async fn asked_to_save(&self) {
        self.save.notified().await;
    }

    /// The lease is gone: the run must end and nothing more is said about it.
    pub(crate) fn silence(&self, why: Lost) {
        self.why.get_or_init(|| why);
        self.silenced.cancel();
        self.cancelled.cancel();
    }

    /// What the run watches.
    pub(crate) fn run_token(&self) -> &CancellationToken {
        &self.cancelled
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    pub(crate) fn why_silenced(&self) -> Option<&Lost> {
        self.why.get()
    }

    /// Returns once the lease is gone.
    pub(crate) async fn silenced(&self) {
        self.silenced.cancelled().await;
    }

    /// The work's result, or none when the run must end first.
    pub(crate) async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.cancelled.run_until_cancelled(work).await
    }

    /// The work's result, or none when the lease goes first.
    pub(crate) async fn unless_silenced<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.silenced.run_until_cancelled(work).await
    }
}

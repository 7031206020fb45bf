//! The worker's own count of a lease: from before the last renewal that was accepted was sent, so that it ends first.

use std::time::Duration;

use assay_domain::job::RENEWALS_PER_LEASE;
use assay_domain::{Lease, Progress, Rejection};
use assay_proto::convert::{lease_ref, to_json};
use assay_proto::v1::{RenewBatch, Renewal, worker_message::Body};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use crate::clock::Moment;
use crate::link::{Link, Refusal};

/// Progress is shown at most so many times in a term: a fleet whose terms are long is one whose words must be few.
const SHOWN_PER_LEASE: u32 = 30;

/// How a lease ended before its attempt did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the lease ran out before a renewal was heard")]
    RanOut,
    #[error("the coordinator refused a renewal")]
    Refused(#[source] Rejection),
    #[error("the coordinator said stop: {0}")]
    Stopped(String),
}

pub(crate) struct LeaseClock {
    progress_pause: Duration,
    count: watch::Sender<Count>,
}

#[derive(Clone, Copy)]
struct Count {
    from: Moment,
    /// As the coordinator said last.
    term: Duration,
    confirmed: bool,
    settled: bool,
}

impl LeaseClock {
    /// Counts from now until a first renewal is heard: when the offer was made, only the coordinator knows.
    pub(crate) fn new(term: Duration, progress_pause: Duration) -> Self {
        let count = Count { from: Moment::now(), term, confirmed: false, settled: false };
        Self { progress_pause, count: watch::Sender::new(count) }
    }

    /// Waits for the first renewal that was heard.
    pub(crate) async fn confirmed(&self) {
        // Fails only when the sender is gone, and that is ours.
        let _ = self.count.subscribe().wait_for(|count| count.confirmed).await;
    }

    /// Results are in hand: if the lease still runs, only the coordinator's word ends it from here on. What is left is to be heard,
    /// which is harmless at any time.
    pub(crate) fn settle(&self) -> Result<(), Lost> {
        if self.has_run_out() {
            return Err(Lost::RanOut);
        }
        self.count.send_modify(|count| count.settled = true);
        Ok(())
    }

    /// Renews until the lease is lost.
    pub(crate) async fn keep(&self, link: &Link, lease: &Lease, progress: watch::Receiver<Progress>) -> Lost {
        tokio::select! {
            // A renewal heard in the moment in which the lease would run out has kept it.
            biased;
            lost = self.renew(link, lease, progress) => lost,
            () = self.ran_out() => Lost::RanOut,
        }
    }

    async fn renew(&self, link: &Link, lease: &Lease, mut progress: watch::Receiver<Progress>) -> Lost {
        let mut shown = None;
        loop {
            let newest = progress.borrow_and_update().clone();
            let progress_json =
                if shown.as_ref() == Some(&newest) { String::new() } else { to_json(&newest) };
            let renewal = Renewal { lease: Some(lease_ref(lease)), progress_json };
            let sent = Moment::now();
            match link.ask(Body::Renew(RenewBatch { renewals: vec![renewal] })).await {
                Some(Ok(term)) => {
                    self.renewed(sent, term);
                    shown = Some(newest);
                    self.pause(sent, &mut progress).await;
                }
                Some(Err(Refusal::Rejected(rejection))) => return Lost::Refused(rejection),
                // Unreadable is unheard: the lease runs out unless another one is understood.
                Some(Err(Refusal::Unreadable(_))) | None => link.up_again().await,
            }
        }
    }

    /// Until the next renewal is due: by the lease, or earlier when there is progress to show.
    async fn pause(&self, sent: Moment, progress: &mut watch::Receiver<Progress>) {
        let term = self.count.borrow().term;
        let due = sent.after(term / RENEWALS_PER_LEASE);
        let earliest = sent.after(self.progress_pause.max(term / SHOWN_PER_LEASE)).min(due);
        sleep_until(earliest).await;
        // An error means that nothing will be shown any more: the lease goes on.
        if let Ok(Err(_)) = timeout_at(due, progress.changed()).await {
            sleep_until(due).await;
        }
    }

    fn renewed(&self, sent: Moment, term: Option<Duration>) {
        self.count.send_modify(|count| {
            count.from = sent;
            count.term = term.unwrap_or(count.term);
            count.confirmed = true;
        });
    }

    fn has_run_out(&self) -> bool {
        let count = *self.count.borrow();
        !count.settled && count.from.age() >= count.term
    }

    async fn ran_out(&self) {
        let mut changes = self.count.subscribe();
        while !self.has_run_out() {
            let count = *changes.borrow_and_update();
            let end = count.from.after(count.term);
            tokio::select! {
                () = sleep_until(end), if !count.settled => {}
                _ = changes.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;

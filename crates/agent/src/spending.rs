//! What an attempt may cost: it asks for more before it comes to its limit, and ends at it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use assay_domain::budget::{Amount, usd_micros};
use assay_domain::job::FailureClass;
use assay_domain::{Assignment, Lease, Rejection};
use assay_proto::convert::{from_json, lease_ref, to_json};
use assay_proto::v1::leases_client::LeasesClient;
use assay_proto::v1::{SpendRequest, SpendResponse};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tonic::Status;

use crate::clock::Moment;
use crate::executor::Failure;
use crate::link::Link;
use crate::stop::Stop;

/// More is asked for when this part of the time has passed, in percent.
const ASK_AT_PERCENT: u32 = 80;
/// Between two questions that nobody heard.
const ASK_PAUSE: Duration = Duration::from_millis(500);
/// How long a question for money may wait for its answer: calls wait meanwhile.
const MONEY_WAIT: Duration = Duration::from_secs(120);

/// What an attempt has used and may use. Clones are the same attempt's.
#[derive(Clone)]
pub(crate) struct Spending {
    link: Link,
    lease: Lease,
    /// When it was offered.
    from: Moment,
    /// Whether its time is that of a device.
    device: bool,
    /// How many share that time: what was offered together runs together.
    sharing: NonZeroU32,
    /// What it may cost; none: nobody counts.
    limit: watch::Sender<Option<Amount>>,
    /// Money for calls so far, in millionths of a USD.
    paid_micros: Arc<AtomicU64>,
    /// One question at a time.
    asking: Arc<Mutex<()>>,
}

impl Spending {
    pub(crate) fn new(link: Link, assignment: &Assignment, sharing: NonZeroU32) -> Self {
        Self {
            link,
            lease: assignment.lease.clone(),
            from: Moment::now(),
            device: assignment.job.work.kind().needs_device(),
            sharing,
            limit: watch::Sender::new(assignment.spend_limit),
            paid_micros: Arc::default(),
            asking: Arc::default(),
        }
    }

    /// What it has used so far: time of its device, and money for calls.
    pub(crate) fn used(&self) -> Amount {
        let share = self.from.age() / self.sharing.get();
        let age_ms = u64::try_from(share.as_millis()).unwrap_or(u64::MAX);
        let device_ms = if self.device { age_ms } else { 0 };
        Amount { usd_micros: self.paid_micros.load(Ordering::Acquire), device_ms }
    }

    /// Calls have cost so much by now, USD: those under way at the most that they may cost.
    pub(crate) fn paid(&self, usd: f64) {
        self.paid_micros.store(usd_micros(usd), Ordering::Release);
    }

    /// What calls may cost, USD; none: nobody counts.
    pub(crate) fn usd_limit(&self) -> Option<f64> {
        self.limit.borrow().map(Amount::usd)
    }

    /// Asks for more money than `has`, the limit that the caller came to.
    pub(crate) async fn more_usd(&self, has: f64) -> Result<(), Failure> {
        let _one_at_a_time = self.asking.lock().await;
        let Some(limit) = *self.limit.borrow() else { return Ok(()) };
        if limit.usd() > has {
            return Ok(());
        }
        let asked = timeout(MONEY_WAIT, self.ask(limit)).await;
        let answered = asked.unwrap_or_else(|_| Err(unheard()))?;
        self.limit.send_replace(Some(answered));
        Ok(())
    }

    /// Keeps a run on a device within its time: asks for more in time, and ends it where there is no more. Never returns.
    pub(crate) async fn keep(&self, stop: &Stop) {
        loop {
            let limit = *self.limit.borrow();
            let Some(limit) = limit.filter(|_| self.device) else { return std::future::pending().await };
            let whole = Duration::from_millis(limit.device_ms).saturating_mul(self.sharing.get());
            let end = self.from.after(whole);
            sleep_until(self.from.after(whole / 100 * ASK_AT_PERCENT)).await;
            let asked = timeout_at(end, self.ask(limit)).await;
            match asked.unwrap_or_else(|_| Err(unheard())) {
                Ok(more) => drop(self.limit.send_replace(Some(more))),
                Err(failure) => {
                    sleep_until(end).await;
                    stop.fail(failure);
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Asks until there is an answer.
    async fn ask(&self, limit: Amount) -> Result<Amount, Failure> {
        let request = SpendRequest { lease: Some(lease_ref(&self.lease)), limit_json: to_json(&limit) };
        loop {
            let answer = LeasesClient::new(self.link.up().await).spend(request.clone()).await;
            match answer.map(|answer| read(&answer.into_inner())) {
                Ok(Some(more)) if more > limit => return Ok(more),
                Ok(_) => {
                    tracing::warn!("the coordinator's answer about the spend limit cannot be understood")
                }
                Err(status) => match refused(&status) {
                    Some(failure) => return Err(failure),
                    None => tracing::warn!(code = ?status.code(), "nobody answers about the spend limit"),
                },
            }
            sleep(ASK_PAUSE).await;
        }
    }
}

fn read(answer: &SpendResponse) -> Option<Amount> {
    from_json("limit_json", &answer.limit_json).ok()
}

fn refused(status: &Status) -> Option<Failure> {
    let rejection = assay_proto::status::to_rejection(status)?;
    // With another one the lease is gone: whoever keeps it finds out.
    let over = matches!(rejection, Rejection::OverBudget { .. });
    let class = if over { FailureClass::Budget } else { FailureClass::Released };
    Some(Failure::new(class, rejection.to_string()))
}

fn unheard() -> Failure {
    let why = "the spend limit is reached, and no coordinator could be asked for more: handed back";
    Failure::new(FailureClass::Released, why)
}

//! One attempt from offer to heard completion: fetch, run, upload, complete, while its lease is kept.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_artifacts::TransferError;
use assay_domain::budget::Amount;
use assay_domain::job::{FailureClass, Usage};
use assay_domain::{Artifact, Assignment, Lease, Progress, Rejection};
use assay_proto::convert::{lease_ref, to_json};
use assay_proto::v1::{
    CompletedBatch, CompletedItem, FailedBatch, FailedItem, SuspectObject, worker_message::Body,
};
use assay_telemetry::{metrics, names, propagate};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use crate::courier::Courier;
use crate::executor::{AttemptContext, Executor, Failure, Finished, Inputs, Shared, Suspect};
use crate::lease::{LeaseClock, Lost};
use crate::link::{Link, Refusal};
use crate::party::Seat;
use crate::record::Record;
use crate::spending::Spending;
use crate::stop::Stop;

pub(crate) struct Attempt<E> {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) executor: Arc<E>,
    pub(crate) courier: Courier,
    pub(crate) record: Record,
    pub(crate) seat: Arc<Seat>,
    pub(crate) stop: Stop,
    /// Its own folder: made here, removed at the end.
    pub(crate) folder: PathBuf,
    pub(crate) spending: Spending,
    /// When it was offered.
    pub(crate) offered: Instant,
    /// What an hour of this machine costs, USD.
    pub(crate) usd_per_hour: Option<f64>,
}

/// What work came to.
#[derive(PartialEq)]
enum Said {
    /// How it ended, or as much of that as anyone would hear.
    AllThereWas,
    /// The lease went first: its end is nobody's business any more.
    Nothing,
}

impl<E: Executor> Attempt<E> {
    /// All of it. Returns when the device is free and the coordinator has heard, or must not hear, how it ended.
    pub(crate) async fn live(self) -> Lease {
        let (lease, work) = (&self.assignment.lease, &self.assignment.job.work);
        let span = tracing::info_span!(
            names::ATTEMPT,
            assay.job = %lease.job,
            assay.fence = %lease.fence,
            assay.kind = work.kind().as_str(),
            outcome = tracing::field::Empty,
        );
        propagate::attach_parent(&span, &self.assignment.traceparent);
        self.live_traced().instrument(span).await;
        self.seat.settle();
        if let Err(error) = tokio::fs::remove_dir_all(&self.folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.folder.display(), %error, "an attempt's folder stays behind");
        }
        self.assignment.lease.clone()
    }

    async fn live_traced(&self) {
        tracing::info!(label = self.assignment.job.label, "attempt starts");
        let limits = self.courier.limits;
        let term = Duration::from_millis(self.assignment.lease_ms);
        let clock = LeaseClock::new(term, Duration::from_millis(limits.progress_ms));
        let progress = watch::Sender::new(Progress::default());
        let mut work = std::pin::pin!(self.work(&clock, &progress));
        let over = tokio::select! {
            // Finished work beats a loss noticed in the same moment.
            biased;
            said = &mut work => Some(said),
            lost = clock.keep(&self.courier.link, &self.assignment.lease, progress.subscribe()) => {
                self.stop.silence(lost);
                None
            }
            () = self.stop.silenced() => None,
            () = self.record.log.pump(&self.courier.link) => None,
            () = self.record.keep() => None,
            () = self.spending.keep(&self.stop) => None,
        };
        if over == Some(Said::AllThereWas) {
            return;
        }
        self.say_why();
        // The cancelled run is awaited: the next attempt must find a free device.
        if over.is_none() && timeout(Duration::from_millis(limits.cancel_ms), work).await.is_err() {
            tracing::error!(limit_ms = limits.cancel_ms, "a cancelled run did not end: it was dropped");
        }
        // Nothing more is said about its job, but what it logged last is still worth reading.
        if let Some(lost) = self.stop.why_silenced() {
            self.record.log.add(&lost.to_string());
        }
        self.record.finish().await;
    }

    fn say_why(&self) {
        self.ended("lost");
        match self.stop.why_silenced() {
            Some(Lost::Refused(rejection)) => tracing::info!(%rejection, "attempt ends: not ours any more"),
            Some(Lost::Stopped(reason)) => tracing::info!(reason, "attempt ends: told to stop"),
            Some(Lost::RanOut) | None => tracing::warn!("attempt ends: its lease ran out unheard"),
        }
    }

    async fn work(&self, clock: &LeaseClock, progress: &watch::Sender<Progress>) -> Said {
        let outcome = self.outcome(clock, progress).await;
        if let Err(failure) = &outcome
            && self.stop.why_silenced().is_none()
        {
            self.record.log.add(&failure.reason);
        }
        let patience = Duration::from_millis(self.courier.limits.complete_patience_ms);
        let said = self.stop.unless_silenced(timeout(patience, async {
            // Without a coordinator nobody takes the log either: its limit counts from when there is one.
            self.courier.link.up().await;
            self.record.finish().await;
            self.tell(outcome).await;
        }));
        match said.await {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                tracing::error!(limit_ms = patience.as_millis(), "nobody heard how the attempt ended");
            }
            None => return Said::Nothing,
        }
        Said::AllThereWas
    }

    async fn outcome(
        &self,
        clock: &LeaseClock,
        progress: &watch::Sender<Progress>,
    ) -> Result<(Vec<Artifact>, Usage), Failure> {
        let started = Instant::now();
        let fetched = async {
            clock.confirmed().await;
            self.fetch(progress).instrument(tracing::info_span!(names::DOWNLOAD)).await
        };
        let inputs = self.stop.unless_cancelled(fetched).await.unwrap_or_else(|| Err(self.stop.failure()))?;
        let download_s = started.elapsed().as_secs_f64();
        let ran = self.run(inputs, progress).instrument(tracing::info_span!(names::RUN)).await;
        // Checked, not only timed: a process that stood still finds its results before its timers.
        if let Err(lost) = clock.settle() {
            self.stop.silence(lost);
        }
        // A run that failed after it was told to stop failed because of that.
        let Finished { outputs, mut usage } =
            ran.map_err(|failure| if self.stop.is_cancelled() { self.stop.failure() } else { failure })?;
        usage.usd_per_hour = self.usd_per_hour;
        usage.phases.insert(0, (String::from("download"), download_s));
        let started = Instant::now();
        let uploaded = self.upload(&outputs, progress).instrument(tracing::info_span!(names::UPLOAD));
        let artifacts = self.stop.unless_silenced(uploaded).await.unwrap_or_else(|| Err(released()))?;
        usage.phases.push((String::from("upload"), started.elapsed().as_secs_f64()));
        usage.used = Some(self.spending.used());
        Ok((artifacts, usage))
    }

    async fn fetch(&self, progress: &watch::Sender<Progress>) -> Result<Inputs, Failure> {
        let assignment = &self.assignment;
        let resume = assignment.resume.iter().map(|(_, artifact)| artifact);
        let total =
            assignment.inputs.iter().map(|(_, artifact)| artifact).chain(resume).map(Artifact::bytes).sum();
        let courier = &self.courier.showing("download", total, progress);
        let fetches = assignment.inputs.iter().map(|(role, artifact)| {
            let into = self.folder.join("inputs").join(role);
            let fetch = async move { Ok((role.clone(), courier.fetch(role, artifact, &into).await?)) };
            Box::pin(fetch) as BoxFuture<'_, Result<_, Failure>>
        });
        let fetches: Vec<_> = fetches.collect();
        let parallel = self.courier.limits.transfers_max.max(1);
        let by_role = futures::stream::iter(fetches).buffer_unordered(parallel).try_collect().await?;
        let resume = match &assignment.resume {
            Some((step, artifact)) => {
                Some((*step, courier.fetch("resume", artifact, &self.folder.join("resume")).await?))
            }
            None => None,
        };
        Ok(Inputs { by_role, resume })
    }

    async fn run(&self, inputs: Inputs, progress: &watch::Sender<Progress>) -> Result<Finished, Failure> {
        let work_dir = self.folder.join("work");
        tokio::fs::create_dir_all(&work_dir).await.map_err(|source| {
            let error = TransferError::File { path: work_dir.clone(), action: "created", source };
            Failure::from_error(FailureClass::Transient, &error)
        })?;
        let shared = Shared {
            assignment: self.assignment.clone(),
            inputs,
            work_dir,
            progress: progress.clone(),
            record: self.record.clone(),
            seat: self.seat.clone(),
            stop: self.stop.clone(),
            spending: self.spending.clone(),
            courier: self.courier.clone(),
            span: tracing::Span::current(),
        };
        let run = self.executor.run(AttemptContext { shared: Arc::new(shared) });
        let ran = AssertUnwindSafe(run).catch_unwind().await;
        ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Failure::new(FailureClass::Crashed, format!("the executor panicked: {text}")))
        })
    }

    async fn upload(
        &self,
        outputs: &[(String, PathBuf)],
        progress: &watch::Sender<Progress>,
    ) -> Result<Vec<Artifact>, Failure> {
        let courier = self.courier.showing("upload", 0, progress);
        let mut artifacts = Vec::new();
        for (name, path) in outputs {
            artifacts.push(courier.upload(name, path).await?);
        }
        Ok(artifacts)
    }

    async fn tell(&self, outcome: Result<(Vec<Artifact>, Usage), Failure>) {
        self.record.log.flush(&self.courier.link).await;
        let failure = match outcome {
            Ok((outputs, usage)) => match self.complete(&outputs, &usage).await {
                Err(Refusal::Rejected(Rejection::StaleAttempt { .. })) | Ok(()) => return,
                Err(refusal) => Failure::new(FailureClass::Crashed, refusal.to_string()),
            },
            Err(failure) => failure,
        };
        self.ended(class_text(failure.class));
        if failure.class == FailureClass::Released {
            tracing::info!("attempt ends: handed back");
        } else {
            tracing::warn!(class = class_text(failure.class), reason = failure.reason, "attempt failed");
        }
        // A refusal means that the attempt is not current any more: there is nobody to tell.
        let used = self.spending.used();
        let _ = say_failed(&self.courier.link, &self.assignment.lease, &failure, used).await;
    }

    fn ended(&self, outcome: &'static str) {
        tracing::Span::current().record("outcome", outcome);
        let kind = self.assignment.job.work.kind().as_str();
        metrics::attempt_ended(kind, outcome, self.offered.elapsed().as_secs_f64());
    }

    async fn complete(&self, outputs: &[Artifact], usage: &Usage) -> Result<(), Refusal> {
        let item = CompletedItem {
            lease: Some(lease_ref(&self.assignment.lease)),
            outputs_json: to_json(outputs),
            usage_json: to_json(usage),
        };
        let body = Body::Completed(CompletedBatch { items: vec![item] });
        let heard =
            self.courier.link.until_heard(body).instrument(tracing::info_span!(names::COMPLETE)).await;
        match &heard {
            Ok(()) => {
                self.ended("succeeded");
                metrics::tokens(self.assignment.job.work.kind().as_str(), usage.tokens);
                tracing::info!("attempt succeeded");
            }
            Err(refusal) => tracing::warn!(%refusal, "completion refused"),
        }
        heard
    }
}

/// Says until it is heard that an attempt failed.
pub(crate) async fn say_failed(
    link: &Link,
    lease: &Lease,
    failure: &Failure,
    used: Amount,
) -> Result<(), Refusal> {
    let item = FailedItem {
        lease: Some(lease_ref(lease)),
        class: class_text(failure.class).to_owned(),
        reason: failure.reason.clone(),
        suspects: failure.suspects.iter().map(suspect).collect(),
        used_json: to_json(&used),
    };
    link.until_heard(Body::Failed(FailedBatch { items: vec![item] })).await
}

fn suspect(suspect: &Suspect) -> SuspectObject {
    SuspectObject { key: suspect.key.clone(), found: suspect.found.clone() }
}

/// The agent gives the attempt back.
pub(crate) fn released() -> Failure {
    Failure::new(FailureClass::Released, "the worker stopped and handed the job back")
}

/// As serde writes it.
const fn class_text(class: FailureClass) -> &'static str {
    match class {
        FailureClass::BadInput => "bad_input",
        FailureClass::OutOfMemory => "out_of_memory",
        FailureClass::Transient => "transient",
        FailureClass::Stalled => "stalled",
        FailureClass::Crashed => "crashed",
        FailureClass::Released => "released",
        FailureClass::InputLost => "input_lost",
        FailureClass::Budget => "budget",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_written_as_domain_reads_them() {
        for class in [
            FailureClass::BadInput,
            FailureClass::OutOfMemory,
            FailureClass::Transient,
            FailureClass::Stalled,
            FailureClass::Crashed,
            FailureClass::Released,
            FailureClass::InputLost,
            FailureClass::Budget,
        ] {
            assert_eq!(to_json(&class), format!("\"{}\"", class_text(class)));
        }
    }
}

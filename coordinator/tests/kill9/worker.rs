//! A scripted worker: leases, uploads, checkpoints and completes, and goes on where it was when the coordinator comes back.
//! Sometimes it has forgotten what it ran, and remembers too late.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use assay_domain::job::Usage;
use assay_domain::{Artifact, Assignment, Lease, Rejection, Work};
use assay_proto::v1::worker_message::Body as Said;
use assay_proto::{convert, v1};

use crate::ledger::Ledger;
use crate::place::{Client, Gone, Places};
use crate::random::Random;
use crate::stream::Stream;

const FORGETS_PERCENT: u64 = 20;

pub(crate) struct Worker {
    id: String,
    ledger: Rc<RefCell<Ledger>>,
    random: Random,
    attempt: Option<Attempt>,
}

struct Attempt {
    assignment: Assignment,
    /// The newest step that was acknowledged.
    checkpoint: Option<u64>,
    /// Set before the completion is said for the first time.
    outputs: Option<Vec<Artifact>>,
}

impl Worker {
    pub(crate) fn new(number: u64, ledger: Rc<RefCell<Ledger>>) -> Self {
        Self { id: format!("worker {number}"), ledger, random: Random(number), attempt: None }
    }

    /// One stream after the other, for ever.
    pub(crate) async fn live(mut self, mut places: Places) {
        let mut round = 0;
        loop {
            let client = places.after(round).await;
            round = client.place.round;
            let Err(Gone) = self.work(&client).await;
        }
    }

    async fn work(&mut self, client: &Client) -> Result<Infallible, Gone> {
        let forgets = self.random.chance(FORGETS_PERCENT);
        let mut old = if forgets { self.attempt.take() } else { None };
        let running: Vec<Lease> =
            self.attempt.iter().map(|attempt| attempt.assignment.lease.clone()).collect();
        let (mut stream, stale) = Stream::open(client, &self.id, &running).await?;
        if !stale.is_empty() {
            assert_eq!(stale, running);
            old = self.attempt.take();
        }
        if let Some(old) = old {
            self.remember(&mut stream, old).await?;
        }
        loop {
            let mut attempt = match self.attempt.take() {
                Some(attempt) => attempt,
                None => self.next(&mut stream).await?,
            };
            let performed = self.perform(client, &mut stream, &mut attempt).await;
            match performed {
                Ok(outputs) => self.ledger.borrow_mut().completed(attempt.assignment.lease, outputs),
                Err(Gone) => {
                    self.attempt = Some(attempt);
                    return Err(Gone);
                }
            }
        }
    }

    async fn next(&mut self, stream: &mut Stream<'_>) -> Result<Attempt, Gone> {
        stream.say(Said::Ready(v1::Ready { slots: 1, ..Default::default() })).await?;
        let assignment = stream.offered().await?;
        self.ledger.borrow().offered(&assignment);
        let checkpoint = assignment.resume.as_ref().map(|(step, _)| *step);
        Ok(Attempt { assignment, checkpoint, outputs: None })
    }

    async fn perform(
        &mut self,
        client: &Client,
        stream: &mut Stream<'_>,
        attempt: &mut Attempt,
    ) -> Result<Vec<Artifact>, Gone> {
        let lease = attempt.assignment.lease.clone();
        if let Work::Train(spec) = &attempt.assignment.job.work {
            for step in &spec.checkpoints {
                if attempt.checkpoint >= Some(*step) {
                    continue;
                }
                checkpoint(client, stream, &lease, *step).await?;
                self.ledger.borrow_mut().checkpointed(&lease, *step);
                attempt.checkpoint = Some(*step);
            }
        }
        if attempt.outputs.is_none() {
            let mut outputs = Vec::new();
            for name in attempt.assignment.job.work.completion_outputs() {
                outputs.push(client.upload_output(&lease, name).await?);
            }
            attempt.outputs = Some(outputs);
        }
        let outputs = attempt.outputs.clone().unwrap_or_default();
        let outcome = complete(stream, &lease, &outputs).await?;
        assert_eq!(outcome, Ok(()), "{lease} was current when this stream began");
        Ok(outputs)
    }

    /// An attempt that is not ours any more says that it is done: refused, unless it was heard before.
    async fn remember(&mut self, stream: &mut Stream<'_>, old: Attempt) -> Result<(), Gone> {
        let lease = old.assignment.lease;
        let said = old.outputs.is_some();
        let outputs = old.outputs.unwrap_or_default();
        match complete(stream, &lease, &outputs).await? {
            Ok(()) if said => self.ledger.borrow_mut().completed(lease, outputs),
            Err(Rejection::StaleAttempt { .. }) => self.ledger.borrow_mut().refused(),
            other => panic!("{lease} was answered {other:?}; said before: {said}"),
        }
        Ok(())
    }
}

async fn checkpoint(client: &Client, stream: &mut Stream<'_>, lease: &Lease, step: u64) -> Result<(), Gone> {
    let adapter = client.upload_output(lease, &Artifact::adapter_name(step)).await?;
    let resume = client.upload_output(lease, &Artifact::resume_name(step)).await?;
    let item = v1::CheckpointedItem {
        lease: Some(convert::lease_ref(lease)),
        step,
        adapter_json: convert::to_json(&adapter),
        resume_json: convert::to_json(&resume),
    };
    let outcome = stream.answer(Said::Checkpointed(v1::CheckpointedBatch { items: vec![item] })).await?;
    assert_eq!(outcome, Ok(()), "{lease} was current when this stream began");
    Ok(())
}

async fn complete(
    stream: &mut Stream<'_>,
    lease: &Lease,
    outputs: &[Artifact],
) -> Result<Result<(), Rejection>, Gone> {
    let item = v1::CompletedItem {
        lease: Some(convert::lease_ref(lease)),
        outputs_json: convert::to_json(outputs),
        usage_json: convert::to_json(&Usage { tokens: 10, ..Usage::default() }),
    };
    stream.answer(Said::Completed(v1::CompletedBatch { items: vec![item] })).await
}

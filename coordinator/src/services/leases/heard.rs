//! What a worker says, as commands; each batch is answered once what it decided is durable.

use assay_domain::decide::Failed;
use assay_domain::job::{FailureClass, Usage};
use assay_domain::{Artifact, Lease, LogSegment, LostObject, UnixMillis};
use assay_proto::convert::{self, BadMessage};
use assay_proto::v1;
use assay_proto::v1::worker_message::Body;
use tonic::Status;

use super::Worker;
use crate::engine::command::{
    CheckpointedItem, Command, CompletedItem, FailedItem, ItemAnswers, LoggedItem, Outbound, Renewed,
    SaidLine,
};

/// The largest list of outputs of one attempt, as JSON; an entry of the index holds it.
const OUTPUTS_BYTES_MAX: usize = 512 << 10;
/// Objects that one failure may name; the rest is found by the next attempt.
const SUSPECTS_MAX: usize = 16;
/// The longest reason of a failure; the rest is cut.
const REASON_BYTES_MAX: usize = 4 << 10;

impl Worker {
    pub(super) async fn hear(&self, message: v1::WorkerMessage) -> Result<(), Status> {
        let body = message.body.ok_or(BadMessage::Missing { field: "body" })?;
        let mut lease_ms = 0;
        let items = match body {
            Body::Hello(_) => {
                return Err(Status::invalid_argument("`hello` comes once, at the stream's start"));
            }
            Body::Ready(ready) => return self.ready(&ready).await,
            Body::Logs(batch) => return self.logs(batch).await,
            Body::Renew(batch) => {
                let renewed = self.renew(batch).await?;
                lease_ms = renewed.lease_ms;
                renewed.items
            }
            Body::Checkpointed(batch) => self.checkpointed(batch).await?,
            Body::Logged(batch) => self.logged(batch).await?,
            Body::Completed(batch) => self.completed(batch).await?,
            Body::Failed(batch) => self.failed(batch).await?,
        };
        if message.sequence != 0 {
            // The stream's other half may have ended: then reading ends too.
            let answer = Outbound::Answer { sequence: message.sequence, items, lease_ms };
            let _ = self.outbound.send(answer).await;
        }
        Ok(())
    }

    async fn ready(&self, ready: &v1::Ready) -> Result<(), Status> {
        check_bytes("offer_json", ready.offer_json.len(), self.service.limits.progress_bytes_max)?;
        let offer = convert::from_json_or_empty("offer_json", &ready.offer_json)?.unwrap_or_default();
        let (connection, slots) = (self.connection, ready.slots);
        Ok(self.service.engine.tell(Command::Ready { connection, slots, offer }).await?)
    }

    async fn renew(&self, batch: v1::RenewBatch) -> Result<Renewed, Status> {
        self.service.check_count("renewals", batch.renewals.len())?;
        let mut renewals = Vec::with_capacity(batch.renewals.len());
        for renewal in batch.renewals {
            check_bytes(
                "progress_json",
                renewal.progress_json.len(),
                self.service.limits.progress_bytes_max,
            )?;
            let progress = convert::from_json_or_empty("progress_json", &renewal.progress_json)?;
            renewals.push((convert::lease(renewal.lease)?, progress));
        }
        let connection = self.connection;
        Ok(self.service.engine.ask(|reply| Command::Renew { connection, renewals, reply }).await?)
    }

    async fn checkpointed(&self, batch: v1::CheckpointedBatch) -> Result<ItemAnswers, Status> {
        self.service.check_count("items", batch.items.len())?;
        let mut said = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            let lease = convert::lease(item.lease)?;
            let adapter = artifact("adapter_json", &item.adapter_json)?;
            let resume = artifact("resume_json", &item.resume_json)?;
            check_name("adapter_json", &adapter, &Artifact::adapter_name(item.step))?;
            check_name("resume_json", &resume, &Artifact::resume_name(item.step))?;
            said.push((lease, item.step, adapter, resume));
        }
        let named = |(lease, _, adapter, resume): &(Lease, u64, Artifact, Artifact)| {
            (lease.clone(), vec![adapter.clone(), resume.clone()])
        };
        let refused = self.service.named.check(said.iter().map(named).collect()).await?;
        let items = said.into_iter().zip(refused).map(|((lease, step, adapter, resume), refused)| {
            CheckpointedItem { lease, step, adapter, resume, refused }
        });
        let items = items.collect();
        Ok(self.service.engine.ask(|reply| Command::Checkpointed { items, reply }).await?)
    }

    async fn logged(&self, batch: v1::LoggedBatch) -> Result<ItemAnswers, Status> {
        self.service.check_count("items", batch.items.len())?;
        let (mut said, mut named) = (Vec::new(), Vec::new());
        for item in batch.items {
            let lease = convert::lease(item.lease)?;
            let segment: LogSegment = convert::from_json("segment_json", &item.segment_json)?;
            let file = segment.file(&lease);
            let file = file.map_err(|error| Status::invalid_argument(error.to_string()))?;
            named.push((
                lease.clone(),
                vec![Artifact { name: segment.of.as_str().to_owned(), files: vec![file] }],
            ));
            said.push((lease, segment));
        }
        let refused = self.service.named.check(named).await?;
        let items = said.into_iter().zip(refused);
        let items = items.map(|((lease, segment), refused)| LoggedItem { lease, segment, refused }).collect();
        Ok(self.service.engine.ask(|reply| Command::Logged { items, reply }).await?)
    }

    async fn completed(&self, batch: v1::CompletedBatch) -> Result<ItemAnswers, Status> {
        self.service.check_count("items", batch.items.len())?;
        let (mut said, mut named) = (Vec::new(), Vec::new());
        for item in batch.items {
            let lease = convert::lease(item.lease)?;
            check_bytes("outputs_json", item.outputs_json.len(), OUTPUTS_BYTES_MAX)?;
            check_bytes("usage_json", item.usage_json.len(), OUTPUTS_BYTES_MAX)?;
            let outputs = convert::artifacts("outputs_json", &item.outputs_json)?;
            let usage: Usage = convert::from_json("usage_json", &item.usage_json)?;
            named.push((lease.clone(), outputs.clone()));
            said.push((lease, outputs, usage));
        }
        let refused = self.service.named.check(named).await?;
        let items = said.into_iter().zip(refused).map(|((lease, outputs, usage), refused)| CompletedItem {
            lease,
            outputs,
            usage,
            refused,
        });
        let items = items.collect();
        Ok(self.service.engine.ask(|reply| Command::Completed { items, reply }).await?)
    }

    async fn failed(&self, batch: v1::FailedBatch) -> Result<ItemAnswers, Status> {
        self.service.check_count("items", batch.items.len())?;
        let mut items = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            let lease = convert::lease(item.lease)?;
            let class: FailureClass = convert::from_json("class", &convert::to_json(&item.class))?;
            let mut reason = item.reason;
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            let used = convert::from_json_or_empty("used_json", &item.used_json)?;
            let lost = self.lost(&lease, item.suspects).await?;
            items.push(FailedItem { lease, failed: Failed { class, reason, lost, used } });
        }
        Ok(self.service.engine.ask(|reply| Command::Failed { items, reply }).await?)
    }

    /// Which of the inputs that an attempt could not read are bad indeed: seen in the store itself, where they are deleted.
    async fn lost(&self, lease: &Lease, suspects: Vec<v1::SuspectObject>) -> Result<Vec<LostObject>, Status> {
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        for v1::SuspectObject { key, found } in suspects.iter().take(SUSPECTS_MAX) {
            tracing::warn!(lease = %lease, key, found, "a worker could not read an input as it should be");
        }
        let lease = lease.clone();
        let mut files = self.service.engine.ask(|reply| Command::InputFiles { lease, reply }).await?;
        files.retain(|file| {
            suspects.iter().take(SUSPECTS_MAX).any(|suspect| suspect.key == file.key.as_str())
        });
        self.service.named.lost(files).await
    }

    async fn logs(&self, batch: v1::LogBatch) -> Result<(), Status> {
        self.service.check_count("items", batch.items.len())?;
        let mut lines = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            let (lease, at) = (convert::lease(item.lease)?, UnixMillis(item.at_unix_ms));
            lines.push(SaidLine { lease, number: item.number, at, text: item.line });
        }
        Ok(self.service.engine.tell(Command::LogLines { lines }).await?)
    }
}

fn artifact(field: &'static str, json: &str) -> Result<Artifact, Status> {
    check_bytes(field, json.len(), OUTPUTS_BYTES_MAX)?;
    Ok(convert::from_json(field, json)?)
}

fn check_name(field: &'static str, artifact: &Artifact, wanted: &str) -> Result<(), Status> {
    if artifact.name == wanted {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "`{field}` is named `{}`, but its step makes it `{wanted}`",
        artifact.name
    )))
}

fn check_bytes(field: &'static str, given: usize, limit: usize) -> Result<(), BadMessage> {
    if given > limit { Err(BadMessage::TooMuch { field, given, limit, unit: "bytes" }) } else { Ok(()) }
}

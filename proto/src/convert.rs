//! The one place where proto meets domain: ids, leases, JSON payloads, and what people see of the state.

use assay_domain::{Artifact, Attempt, Epoch, Fence, JobId, Lease, Rejection};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::v1;

pub use view::{matrix_summary, matrix_view};

mod view;

/// A message that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// A field that must be there is not.
    #[error("field `{field}` is missing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A text that is not what its field needs.
    #[error("field `{field}` is not valid")]
    Text {
        /// Its name.
        field: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A JSON payload that is not the domain value of its field.
    #[error("field `{field}` does not hold {wanted} as JSON")]
    Json {
        /// Its name.
        field: &'static str,
        /// The type.
        wanted: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A field over its limit.
    #[error("field `{field}` has {given}, over the limit of {limit} {unit}")]
    TooMuch {
        /// Its name.
        field: &'static str,
        /// What was given.
        given: usize,
        /// What is allowed.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
}

impl From<BadMessage> for tonic::Status {
    fn from(bad: BadMessage) -> Self {
        let mut message = assay_domain::chain(&bad);
        // Messages are headers: a value quoted in a cause may be long.
        let end = message.floor_char_boundary(1000);
        message.truncate(end);
        Self::invalid_argument(message)
    }
}

/// A lease on the wire.
pub fn lease_ref(lease: &Lease) -> v1::LeaseRef {
    v1::LeaseRef { job_id: lease.job.to_string(), epoch: lease.fence.epoch.0, attempt: lease.fence.attempt.0 }
}

/// A lease from the wire.
pub fn lease(given: Option<v1::LeaseRef>) -> Result<Lease, BadMessage> {
    let given = given.ok_or(BadMessage::Missing { field: "lease" })?;
    lease_of(&given.job_id, given.epoch, given.attempt)
}

/// A lease from its three parts.
pub fn lease_of(job: &str, epoch: u64, attempt: u32) -> Result<Lease, BadMessage> {
    Ok(Lease { job: job_id(job)?, fence: Fence { epoch: Epoch(epoch), attempt: Attempt(attempt) } })
}

/// A job id from the wire.
pub fn job_id(text: &str) -> Result<JobId, BadMessage> {
    text.parse().map_err(|source| BadMessage::Text { field: "job_id", source: Box::new(source) })
}

/// A domain value as JSON.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    // Our values have text keys and no failing serializers; the tests of domain show it for each type.
    serde_json::to_string(value).unwrap_or_default()
}

/// The domain value of a JSON field.
pub fn from_json<T: DeserializeOwned>(field: &'static str, json: &str) -> Result<T, BadMessage> {
    let wanted = std::any::type_name::<T>();
    serde_json::from_str(json).map_err(|source| BadMessage::Json { field, wanted, source })
}

/// The domain value of a JSON field that may be empty.
pub fn from_json_or_empty<T: DeserializeOwned>(
    field: &'static str,
    json: &str,
) -> Result<Option<T>, BadMessage> {
    if json.is_empty() { Ok(None) } else { from_json(field, json).map(Some) }
}

/// The answer to one item of a batch.
pub fn item_answer(outcome: Result<(), Rejection>) -> v1::ItemAnswer {
    let rejection_json = outcome.err().map(|rejection| to_json(&rejection)).unwrap_or_default();
    v1::ItemAnswer { rejection_json }
}

/// What an item's answer says.
pub fn item_outcome(answer: &v1::ItemAnswer) -> Result<Result<(), Rejection>, BadMessage> {
    let rejection = from_json_or_empty("rejection_json", &answer.rejection_json)?;
    Ok(rejection.map_or(Ok(()), Err))
}

/// Artifacts from the wire.
pub fn artifacts(field: &'static str, json: &str) -> Result<Vec<Artifact>, BadMessage> {
    from_json(field, json)
}

/// W3C `traceparent` of a matrix: the ids that every process derives.
pub fn traceparent(matrix: &assay_domain::MatrixId) -> String {
    format!("00-{}-{}-01", hex::encode(matrix.trace_id()), hex::encode(matrix.root_span_id()))
}

#[cfg(test)]
mod tests;

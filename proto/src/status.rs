//! A [`Rejection`] as a gRPC status and back, without loss: the typed value travels as JSON in a binary metadata entry.

use assay_domain::Rejection;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The metadata key of the typed rejection.
pub const REJECTION_KEY: &str = "assay-rejection-bin";

/// The longest message and the largest rejection that travel whole, in bytes: headers must stay small.
const HEADER_BYTES_MAX: usize = 4096;

/// The status of a rejection.
pub fn from_rejection(rejection: &Rejection) -> Status {
    let mut status = Status::new(code_of(rejection), shortened(rejection.to_string()));
    if let Ok(json) = serde_json::to_vec(rejection)
        && json.len() <= HEADER_BYTES_MAX
    {
        status.metadata_mut().insert_bin(REJECTION_KEY, MetadataValue::from_bytes(&json));
    }
    status
}

/// The rejection that a status carries, if it carries one that this build knows.
pub fn to_rejection(status: &Status) -> Option<Rejection> {
    let bytes = status.metadata().get_bin(REJECTION_KEY)?.to_bytes().ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn code_of(rejection: &Rejection) -> Code {
    match rejection {
        Rejection::UnknownMatrix { .. } | Rejection::UnknownJob { .. } | Rejection::UnknownWorker { .. } => {
            Code::NotFound
        }
        Rejection::SubmitKeyReused { .. } => Code::AlreadyExists,
        Rejection::StaleAttempt { .. }
        | Rejection::OverBudget { .. }
        | Rejection::MissingOutput { .. }
        | Rejection::SkippedSegment { .. }
        | Rejection::MissingObject { .. }
        | Rejection::NotFinished { .. }
        | Rejection::NothingToRetry { .. } => Code::FailedPrecondition,
        Rejection::UnsoundPlan { .. } => Code::InvalidArgument,
    }
}

fn shortened(mut message: String) -> String {
    // Percent-encoding may triple the bytes.
    const MESSAGE_BYTES_MAX: usize = HEADER_BYTES_MAX / 3;
    if message.len() > MESSAGE_BYTES_MAX {
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_domain::{Attempt, Epoch, Fence, JobId, Lease, MatrixId, SubmitKey};

    fn all() -> Vec<Rejection> {
        let matrix = MatrixId::new("m-1");
        let job = JobId { matrix: matrix.clone(), ordinal: 3 };
        let fence = Fence { epoch: Epoch(1), attempt: Attempt(2) };
        let lease = Lease { job: job.clone(), fence };
        vec![
            Rejection::UnknownMatrix { matrix: matrix.clone() },
            Rejection::UnknownJob { job },
            Rejection::UnknownWorker { worker: assay_domain::WorkerId::new("w") },
            Rejection::SubmitKeyReused { key: SubmitKey::new("é\n"), matrix: matrix.clone() },
            Rejection::NotFinished { matrix: matrix.clone() },
            Rejection::NothingToRetry { matrix },
            Rejection::StaleAttempt { lease: lease.clone(), current: Some(fence) },
            Rejection::StaleAttempt { lease: lease.clone(), current: None },
            Rejection::OverBudget {
                lease: lease.clone(),
                scope: assay_domain::budget::Scope::Matrix { matrix: lease.job.matrix.clone() },
            },
            Rejection::MissingOutput { lease: lease.clone(), name: String::from("adapter@6") },
            Rejection::SkippedSegment { lease: lease.clone(), given: 3, next: 2 },
            Rejection::MissingObject {
                lease,
                key: String::from("a/b"),
                bytes: 3,
                found: String::from("2 are there"),
            },
            Rejection::UnsoundPlan { name: String::from("demo"), why: String::from("a cycle") },
        ]
    }

    #[test]
    fn every_rejection_comes_back_as_it_was_with_its_message() {
        for rejection in all() {
            let status = from_rejection(&rejection);
            assert_eq!(to_rejection(&status), Some(rejection.clone()));
            assert_eq!(status.message(), rejection.to_string());
            assert_ne!(status.code(), Code::Unknown);
        }
    }

    #[test]
    fn a_huge_rejection_still_fits_into_headers() {
        let rejection = Rejection::UnsoundPlan { name: "ß".repeat(50_000), why: String::new() };
        let status = from_rejection(&rejection);
        assert!(status.message().len() < 2000 && to_rejection(&status).is_none());
    }

    #[test]
    fn a_status_of_others_is_no_rejection() {
        assert_eq!(to_rejection(&Status::not_found("no")), None);
    }
}

//! The gRPC services: they turn messages into commands of the engine and its answers into messages, and decide nothing.

use assay_domain::Rejection;
use tonic::Status;

use crate::engine::Stopped;

pub(crate) mod artifacts;
pub(crate) mod auth;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod leases;
pub(crate) mod matrices;
pub(crate) mod named;
pub(crate) mod people;
pub(crate) mod trace;

impl From<Stopped> for Status {
    fn from(stopped: Stopped) -> Self {
        Self::unavailable(stopped.to_string())
    }
}

/// The status of a rejection, its typed value included.
pub(crate) fn rejected(rejection: Rejection) -> Status {
    assay_proto::status::from_rejection(&rejection)
}

/// A failure of ours: its reason is for the operator.
pub(crate) fn internal(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error = assay_domain::chain(error), what, "a call failed");
    Status::internal(format!("{what} failed: the operator finds the reason in the coordinator's log"))
}

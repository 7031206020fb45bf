//! What the engine has for a worker, as messages.

use assay_domain::Lease;
use assay_proto::v1::coordinator_message::Body;
use assay_proto::{PROTOCOL, convert, v1};
use tonic::Status;

use crate::engine::command::{Outbound, StopReason};

pub(super) fn message(outbound: Outbound) -> Result<v1::CoordinatorMessage, Status> {
    let body = match outbound {
        Outbound::Welcome { epoch, lease_ms, stale } => Body::Welcome(v1::Welcome {
            protocol: PROTOCOL,
            epoch: epoch.0,
            lease_ms,
            stale: stale.iter().map(convert::lease_ref).collect(),
        }),
        Outbound::Offers(assignments) => Body::Offers(v1::OfferBatch {
            assignments_json: assignments.iter().map(convert::to_json).collect(),
        }),
        Outbound::Answer { sequence, items, lease_ms } => {
            let items = items.into_iter().map(convert::item_answer).collect();
            Body::Answers(v1::AnswerBatch { answers: vec![v1::Answer { sequence, items, lease_ms }] })
        }
        Outbound::Stops(stops) => Body::Stops(v1::StopBatch { items: stops.iter().map(stop).collect() }),
        Outbound::Saves(leases) => {
            Body::Saves(v1::SaveBatch { leases: leases.iter().map(convert::lease_ref).collect() })
        }
        Outbound::Refused(status) => return Err(*status),
    };
    Ok(v1::CoordinatorMessage { body: Some(body) })
}

fn stop((lease, reason): &(Lease, StopReason)) -> v1::StopItem {
    v1::StopItem { lease: Some(convert::lease_ref(lease)), reason: reason.as_str().to_owned() }
}

//! What the engine has for a worker, as messages.

use assay_domain::Lease;
use assay_proto::v1::coordinator_message::Body;
use assay_proto::{PROTOCOL, convert, v1};
use tonic::Status;

use crate::engine::command::{Outbound, StopReason};

/// Offers that are told together have at most so many bytes; one alone may have more.
const OFFERS_BYTES_MAX: usize = 64 << 10;

type Message = Result<v1::CoordinatorMessage, Status>;

/// Offers may be several messages, everything else is one.
pub(super) fn messages(outbound: Outbound) -> Vec<Message> {
    let body = match outbound {
        Outbound::Welcome { epoch, lease_ms, stale } => Body::Welcome(v1::Welcome {
            protocol: PROTOCOL,
            epoch: epoch.0,
            lease_ms,
            stale: stale.iter().map(convert::lease_ref).collect(),
        }),
        Outbound::Offers(offers) => {
            return together(offers.iter().map(convert::to_json)).map(offered).collect();
        }
        Outbound::Answer { sequence, items, lease_ms } => {
            let items = items.into_iter().map(convert::item_answer).collect();
            Body::Answers(v1::AnswerBatch { answers: vec![v1::Answer { sequence, items, lease_ms }] })
        }
        Outbound::Stops(stops) => Body::Stops(v1::StopBatch { items: stops.iter().map(stop).collect() }),
        Outbound::Saves(leases) => {
            Body::Saves(v1::SaveBatch { leases: leases.iter().map(convert::lease_ref).collect() })
        }
        Outbound::Refused(status) => return vec![Err(*status)],
    };
    vec![Ok(v1::CoordinatorMessage { body: Some(body) })]
}

/// Texts in order, as many at once as there is room for.
fn together(texts: impl Iterator<Item = String>) -> impl Iterator<Item = Vec<String>> {
    let mut texts = texts.peekable();
    std::iter::from_fn(move || {
        let first = texts.next()?;
        let mut bytes = first.len();
        let mut batch = vec![first];
        while let Some(next) = texts.next_if(|next| bytes + next.len() <= OFFERS_BYTES_MAX) {
            bytes += next.len();
            batch.push(next);
        }
        Some(batch)
    })
}

fn offered(assignments_json: Vec<String>) -> Message {
    Ok(v1::CoordinatorMessage { body: Some(Body::Offers(v1::OfferBatch { assignments_json })) })
}

fn stop((lease, reason): &(Lease, StopReason)) -> v1::StopItem {
    v1::StopItem { lease: Some(convert::lease_ref(lease)), reason: reason.as_str().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_together_up_to_a_limit_and_none_is_left_out() {
        let text = |bytes| "x".repeat(bytes);
        let texts = [10, OFFERS_BYTES_MAX - 10, 1, 3 * OFFERS_BYTES_MAX, 2, 3].map(text);
        let batches: Vec<Vec<usize>> =
            together(texts.into_iter()).map(|batch| batch.iter().map(String::len).collect()).collect();
        assert_eq!(
            batches,
            [vec![10, OFFERS_BYTES_MAX - 10], vec![1], vec![3 * OFFERS_BYTES_MAX], vec![2, 3]]
        );
        assert_eq!(together(std::iter::empty()).count(), 0);
    }
}

//! Anthropic's Message Batches. They carry nothing of ours but the questions' ids, which only the results show.

use assay_domain::job::ApiJudge;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Batch, Batches, Call, Item, Outcome, Page, State, base, came, parse};
use crate::wire::{Trouble, waits};

/// Batches of one page, at most.
const PAGE: u32 = 100;

pub(super) struct MessageBatches;

#[derive(Serialize)]
struct Create<'a> {
    requests: Vec<Request<'a>>,
}

#[derive(Serialize)]
struct Request<'a> {
    custom_id: &'a str,
    params: &'a RawValue,
}

#[derive(Deserialize)]
struct MessageBatch {
    id: String,
    processing_status: String,
    request_counts: Counts,
    created_at: String,
}

#[derive(Deserialize)]
struct Counts {
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

#[derive(Deserialize)]
struct List {
    data: Vec<MessageBatch>,
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    #[serde(borrow)]
    result: ResultOf<'a>,
}

#[derive(Deserialize)]
struct ResultOf<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorKind,
}

#[derive(Deserialize)]
struct ErrorKind {
    #[serde(rename = "type")]
    kind: String,
}

impl MessageBatches {
    fn read(judge: &ApiJudge, batch: MessageBatch) -> Batch {
        let Counts { processing, succeeded, errored, canceled, expired } = batch.request_counts;
        let ended = succeeded + errored + canceled + expired;
        let results = format!("{}/messages/batches/{}/results", base(judge), batch.id);
        Batch {
            tag: None,
            made_unix_s: waits::rfc3339_unix_s(&batch.created_at),
            questions: processing + ended,
            ended,
            state: if batch.processing_status == "ended" { State::Ended } else { State::Running },
            results: vec![Call::Get(results)],
            id: batch.id,
        }
    }

    fn listed(judge: &ApiJudge, after: &str) -> Call {
        Call::Get(format!("{}/messages/batches?limit={PAGE}{after}", base(judge)))
    }
}

impl Batches for MessageBatches {
    fn keeps_tags(&self) -> bool {
        false
    }

    fn prepare(&self, _: &ApiJudge, _: &str, _: &[Item]) -> serde_json::Result<Option<Call>> {
        Ok(None)
    }

    fn prepared(&self, body: &str) -> Result<String, Trouble> {
        Err(super::unreadable("nothing was to be prepared", body))
    }

    fn make(&self, judge: &ApiJudge, _: &str, items: &[Item], _: Option<&str>) -> serde_json::Result<Call> {
        let requests = items.iter().map(|item| Request { custom_id: &item.id, params: &item.body }).collect();
        let body = serde_json::to_string(&Create { requests })?;
        Ok(Call::Post { url: format!("{}/messages/batches", base(judge)), body })
    }

    fn look(&self, judge: &ApiJudge, id: &str) -> Call {
        Call::Get(format!("{}/messages/batches/{id}", base(judge)))
    }

    fn batch(&self, judge: &ApiJudge, body: &str) -> Result<Batch, Trouble> {
        Ok(Self::read(judge, parse(body)?))
    }

    fn cancel(&self, judge: &ApiJudge, id: &str) -> Call {
        Call::Post { url: format!("{}/messages/batches/{id}/cancel", base(judge)), body: String::new() }
    }

    fn list(&self, judge: &ApiJudge) -> Call {
        Self::listed(judge, "")
    }

    fn page(&self, judge: &ApiJudge, body: &str) -> Result<Page, Trouble> {
        let list: List = parse(body)?;
        let last = list.last_id.filter(|_| list.has_more);
        Ok(Page {
            batches: list.data.into_iter().map(|batch| Self::read(judge, batch)).collect(),
            next: last.map(|last| Self::listed(judge, &format!("&after_id={last}"))),
        })
    }

    fn outcomes(&self, body: &str) -> Result<Vec<(String, Outcome)>, Trouble> {
        let lines = body.lines().filter(|line| !line.trim().is_empty());
        let outcome = |line: &str| {
            let Line { custom_id, result } =
                serde_json::from_str(line).map_err(|error| super::unreadable(error, line))?;
            let outcome = match (result.kind.as_str(), result.message, result.error) {
                ("succeeded", Some(message), _) => came(200, message),
                ("errored", _, Some(error)) => came(status_of(error), error),
                ("canceled", ..) => Outcome::Cancelled,
                ("expired", ..) => Outcome::Expired,
                _ => return Err(super::unreadable("a result of no known kind", line)),
            };
            Ok((custom_id, outcome))
        };
        lines.map(outcome).collect()
    }
}

/// The status that an error would have had alone.
fn status_of(error: &RawValue) -> u16 {
    let kind = serde_json::from_str::<ErrorBody>(error.get()).map(|body| body.error.kind).unwrap_or_default();
    match kind.as_str() {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

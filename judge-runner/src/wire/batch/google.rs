//! Gemini's batches: long-running operations with their requests and answers inside. Our tag is the display name.

use assay_domain::job::ApiJudge;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Batch, Batches, Call, Item, Outcome, Page, State, base, came, parse};
use crate::wire::{Cause, Trouble, quoted, waits};

/// Batches of one page, at most.
const PAGE: u32 = 100;

pub(super) struct Operations;

#[derive(Serialize)]
struct Create<'a> {
    batch: NewBatch<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewBatch<'a> {
    display_name: &'a str,
    input_config: InputConfig<'a>,
}

#[derive(Serialize)]
struct InputConfig<'a> {
    requests: Requests<'a>,
}

#[derive(Serialize)]
struct Requests<'a> {
    requests: Vec<Request<'a>>,
}

#[derive(Serialize)]
struct Request<'a> {
    request: &'a RawValue,
    metadata: Key<'a>,
}

#[derive(Serialize)]
struct Key<'a> {
    key: &'a str,
}

#[derive(Deserialize)]
struct Operation {
    name: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    error: Option<Status>,
    #[serde(default)]
    response: Option<Output>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    display_name: Option<String>,
    state: Option<String>,
    create_time: Option<String>,
    batch_stats: Option<Stats>,
    output: Option<Output>,
}

/// Counts are strings, as protobuf writes 64 bits.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Stats {
    request_count: Option<String>,
    pending_request_count: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Output {
    inlined_responses: Option<Inlined>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Inlined {
    inlined_responses: Vec<InlinedResponse>,
}

#[derive(Deserialize)]
struct InlinedResponse {
    #[serde(default)]
    response: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
    metadata: KeyOf,
}

#[derive(Deserialize)]
struct KeyOf {
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    operations: Vec<Operation>,
    #[serde(default)]
    next_page_token: Option<String>,
}

impl Operations {
    fn read(judge: &ApiJudge, operation: Operation) -> Batch {
        let Operation { name, metadata, error, .. } = operation;
        let stats = metadata.batch_stats.unwrap_or_default();
        let count = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let (questions, pending) = (count(stats.request_count), count(stats.pending_request_count));
        Batch {
            tag: metadata.display_name,
            made_unix_s: metadata.create_time.as_deref().and_then(waits::rfc3339_unix_s),
            questions,
            ended: questions.saturating_sub(pending),
            state: state(metadata.state.as_deref().unwrap_or_default(), error),
            // The operation holds its answers itself.
            results: vec![Call::Get(format!("{}/{name}", base(judge)))],
            id: name,
        }
    }

    fn listed(judge: &ApiJudge, after: &str) -> Call {
        Call::Get(format!("{}/batches?pageSize={PAGE}{after}", base(judge)))
    }
}

/// The API writes `BATCH_STATE_...`, its SDK `JOB_STATE_...`.
fn state(said: &str, error: Option<Status>) -> State {
    let bare = said.trim_start_matches("BATCH_STATE_").trim_start_matches("JOB_STATE_");
    match bare {
        "SUCCEEDED" | "PARTIALLY_SUCCEEDED" | "EXPIRED" => State::Ended,
        "CANCELLED" => State::Cancelled,
        "FAILED" => {
            let error = error.unwrap_or(Status { code: 13, message: String::from("no reason given") });
            let why = format!("the batch failed: {}", quoted(&error.message));
            // https://grpc.github.io/grpc/core/md_doc_statuscodes.html: these pass by themselves.
            State::Failed(match error.code {
                4 | 8 | 10 | 13 | 14 => Trouble::Again { why, after: None, cause: Cause::Failed },
                _ => Trouble::Judge { why },
            })
        }
        _ => State::Running,
    }
}

impl Batches for Operations {
    fn prepare(&self, _: &ApiJudge, _: &str, _: &[Item]) -> serde_json::Result<Option<Call>> {
        Ok(None)
    }

    fn prepared(&self, body: &str) -> Result<String, Trouble> {
        Err(super::unreadable("nothing was to be prepared", body))
    }

    fn make(&self, judge: &ApiJudge, tag: &str, items: &[Item], _: Option<&str>) -> serde_json::Result<Call> {
        let requests = items
            .iter()
            .map(|item| Request { request: &item.body, metadata: Key { key: &item.id } })
            .collect();
        let input_config = InputConfig { requests: Requests { requests } };
        let body = serde_json::to_string(&Create { batch: NewBatch { display_name: tag, input_config } })?;
        let url = format!("{}/models/{}:batchGenerateContent", base(judge), judge.model);
        Ok(Call::Post { url, body })
    }

    fn look(&self, judge: &ApiJudge, id: &str) -> Call {
        Call::Get(format!("{}/{id}", base(judge)))
    }

    fn batch(&self, judge: &ApiJudge, body: &str) -> Result<Batch, Trouble> {
        Ok(Self::read(judge, parse(body)?))
    }

    fn cancel(&self, judge: &ApiJudge, id: &str) -> Call {
        Call::Post { url: format!("{}/{id}:cancel", base(judge)), body: String::from("{}") }
    }

    fn list(&self, judge: &ApiJudge) -> Call {
        Self::listed(judge, "")
    }

    fn page(&self, judge: &ApiJudge, body: &str) -> Result<Page, Trouble> {
        let list: List = parse(body)?;
        let next = list.next_page_token.filter(|token| !token.is_empty());
        Ok(Page {
            batches: list.operations.into_iter().map(|one| Self::read(judge, one)).collect(),
            next: next.map(|token| Self::listed(judge, &format!("&pageToken={token}"))),
        })
    }

    fn outcomes(&self, body: &str) -> Result<Vec<(String, Outcome)>, Trouble> {
        let operation: Operation = parse(body)?;
        let output = operation.metadata.output.or(operation.response).unwrap_or_default();
        let inlined = output.inlined_responses.unwrap_or_default().inlined_responses;
        let outcome = |one: InlinedResponse| {
            let outcome = match (one.response, one.error) {
                (Some(response), _) => came(200, &response),
                (None, Some(error)) => failed(&error),
                (None, None) => Outcome::Expired,
            };
            (one.metadata.key, outcome)
        };
        Ok(inlined.into_iter().map(outcome).collect())
    }
}

/// One question's error, in the form that it would have had alone.
fn failed(error: &RawValue) -> Outcome {
    let code = serde_json::from_str::<Status>(error.get()).map(|status| status.code).unwrap_or_default();
    // https://cloud.google.com/apis/design/errors: canonical codes and their HTTP statuses.
    let status = match code {
        1 => return Outcome::Cancelled,
        3 | 9 | 11 => 400,
        5 => 404,
        7 => 403,
        8 => 429,
        14 => 503,
        // Its time ran out.
        4 => return Outcome::Expired,
        16 => 401,
        _ => 500,
    };
    match RawValue::from_string(format!("{{\"error\":{}}}", error.get())) {
        Ok(body) => came(status, &body),
        Err(_) => Outcome::Expired,
    }
}

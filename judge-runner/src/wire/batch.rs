//! The labs' batch APIs behind one trait: many questions in one file, answered within a day at half the price.
//!
//! A batch carries our tag, so that one whose making was never heard of is found again: Anthropic has no place for it but the
//! questions' ids, the others have one of their own. Pure, as all of `wire`.

mod anthropic;
mod google;
mod openai;

use assay_domain::job::{ApiJudge, Provider};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{RawResponse, Trouble, unreadable};

/// Questions of one batch: fewer than any lab allows (50,000 at OpenAI), so that results stay of a size to be held.
pub(crate) const BATCH_REQUESTS_MAX: usize = 10_000;
/// Bytes of their requests: Gemini takes 20 MB in one call.
pub(crate) const BATCH_BYTES_MAX: usize = 16_000_000;

/// One question of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Its id within the batch: the batch's tag and a number.
    pub(crate) id: String,
    /// The request's body, as it would be sent alone.
    pub(crate) body: Box<RawValue>,
}

/// A call about batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Get(String),
    Post {
        url: String,
        body: String,
    },
    /// A file, as a form.
    Upload {
        url: String,
        name: String,
        text: String,
    },
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// Its results can be read; some may have expired.
    Ended,
    /// Somebody cancelled it; what was answered before can be read.
    Cancelled,
    /// It was refused as a whole, and cost nothing.
    Failed(Trouble),
}

/// A batch as its lab shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) id: String,
    /// Our tag, where the lab keeps one.
    pub(crate) tag: Option<String>,
    /// When it was made, where the lab says so.
    pub(crate) made_unix_s: Option<u64>,
    /// Its questions, and those that have ended; 0 where the lab does not say.
    pub(crate) questions: u64,
    pub(crate) ended: u64,
    pub(crate) state: State,
    /// What gives its results.
    pub(crate) results: Vec<Call>,
}

/// Part of a list of batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) batches: Vec<Batch>,
    /// What gives the next part.
    pub(crate) next: Option<Call>,
}

/// What became of one question of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Came(RawResponse),
    /// Its time ran out; it cost nothing.
    Expired,
    /// Somebody cancelled it; it cost nothing.
    Cancelled,
}

/// One lab's batches.
pub(crate) trait Batches: Send + Sync {
    /// Whether its list shows our tags.
    fn keeps_tags(&self) -> bool {
        true
    }

    /// The call before the one that makes a batch, where there is one.
    fn prepare(&self, judge: &ApiJudge, tag: &str, items: &[Item]) -> serde_json::Result<Option<Call>>;

    /// What that call gave: the id of a file.
    fn prepared(&self, body: &str) -> Result<String, Trouble>;

    /// Makes a batch.
    fn make(
        &self,
        judge: &ApiJudge,
        tag: &str,
        items: &[Item],
        prepared: Option<&str>,
    ) -> serde_json::Result<Call>;

    /// Looks at one.
    fn look(&self, judge: &ApiJudge, id: &str) -> Call;

    /// What both of these give.
    fn batch(&self, judge: &ApiJudge, body: &str) -> Result<Batch, Trouble>;

    /// Cancels one: what is under way is finished, the rest is not begun.
    fn cancel(&self, judge: &ApiJudge, id: &str) -> Call;

    /// Lists the account's batches, newest first.
    fn list(&self, judge: &ApiJudge) -> Call;

    /// What that gives.
    fn page(&self, judge: &ApiJudge, body: &str) -> Result<Page, Trouble>;

    /// Results by the questions' ids, in whatever order they come.
    fn outcomes(&self, body: &str) -> Result<Vec<(String, Outcome)>, Trouble>;
}

/// The batch API of a provider.
pub(crate) fn of(provider: Provider) -> Option<&'static dyn Batches> {
    match provider {
        Provider::Anthropic => Some(&anthropic::MessageBatches),
        Provider::Openai => Some(&openai::FileBatches { endpoint: "/v1/chat/completions" }),
        Provider::OpenaiResponses => Some(&openai::FileBatches { endpoint: "/v1/responses" }),
        Provider::Google => Some(&google::Operations),
        Provider::OpenaiCompatible | Provider::Replay => None,
    }
}

fn base(judge: &ApiJudge) -> &str {
    judge.base_url.trim_end_matches('/')
}

fn parse<T: DeserializeOwned>(body: &str) -> Result<T, Trouble> {
    serde_json::from_str(body).map_err(|error| unreadable(error, body))
}

/// JSON lines.
fn parse_lines<T: DeserializeOwned>(body: &str) -> Result<Vec<T>, Trouble> {
    body.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

/// A response of status 200, or what stands for one, without headers.
fn came(status: u16, body: &RawValue) -> Outcome {
    Outcome::Came(RawResponse {
        status,
        headers: std::collections::BTreeMap::new(),
        body: body.get().to_owned(),
    })
}

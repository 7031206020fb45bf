//! What answers a judge's questions: a lab's server, or a recorded ledger.

mod http;
mod replay;

use assay_domain::job::{ApiJudge, Provider as Name};
use futures::future::BoxFuture;

pub(crate) use self::http::Http;
pub(crate) use self::replay::Replay;
use crate::keys::{Key, KeyError, KeyRing};
use crate::ledger::EntryKey;
use crate::wire::batch::Call;
use crate::wire::{Question, RawResponse, Wire};

/// One exchange: what was sent and what came, as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) request: String,
    pub(crate) response: RawResponse,
}

/// The connection was cut, or nothing came in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no answer: {why}")]
pub(crate) struct Cut {
    pub(crate) why: String,
    /// Whether the server was reached, and may have heard the question.
    pub(crate) reached: bool,
}

/// Answers questions, one exchange each.
pub(crate) trait Provider: Send + Sync {
    /// The protocol in which its responses are written.
    fn wire(&self) -> &dyn Wire;

    /// The request's body.
    fn request(&self, question: Question<'_>) -> serde_json::Result<String>;

    /// Sends it. `key` names the question to a recorded ledger.
    fn send<'a>(&'a self, key: &'a EntryKey, request: String) -> BoxFuture<'a, Result<Exchange, Cut>>;

    /// Makes a call about batches; a recorded ledger has none.
    fn call<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<RawResponse, Cut>>;

    /// Takes what must not be written out of a text.
    fn redact(&self, text: String) -> String;
}

/// Why a provider cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No client.
    #[error("no HTTP client can be made")]
    Client(#[from] reqwest::Error),
    /// Not a server's.
    #[error("`replay` has no server")]
    Replay,
}

/// The server of a judge, with its key.
pub(crate) fn server(judge: &ApiJudge, keys: &KeyRing) -> Result<Http, ProviderError> {
    let wire = crate::wire::of(judge.provider).ok_or(ProviderError::Replay)?;
    let key: Option<Key> = match (&judge.key_env, judge.provider) {
        (Some(name), _) => Some(keys.get(name)?),
        (None, Name::OpenaiCompatible) => None,
        (None, lab) => lab.key_env().map(|name| keys.get(name)).transpose()?,
    };
    Ok(Http::new(judge.clone(), wire, key)?)
}

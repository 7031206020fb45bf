//! Models and data sets of the Hugging Face Hub: a revision is pinned to a commit, files are fetched into a bounded cache, and
//! nothing is handed out whose size and digest are not those that the Hub lists.

mod cache;
mod error;
mod fetch;
mod listing;

use std::path::PathBuf;

use assay_domain::origin::is_repository;

pub use assay_domain::origin::{HUB_ENDPOINT, is_commit};
pub use cache::Snapshot;
pub use error::HubError;
pub use listing::{HubFile, Listing};

/// What kind of repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubKind {
    /// Weights, tokenizer and configuration.
    Model,
    /// Files of rows.
    DataSet,
}

/// A repository on the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRepo {
    /// Its kind.
    pub kind: HubKind,
    /// `organisation/name`.
    pub name: String,
}

impl HubRepo {
    /// A repository by its name.
    ///
    /// # Errors
    /// Not of the form `organisation/name`.
    pub fn new(kind: HubKind, name: &str) -> Result<Self, HubError> {
        match is_repository(name) {
            true => Ok(Self { kind, name: name.to_owned() }),
            false => Err(HubError::Name { given: name.to_owned() }),
        }
    }

    /// `models` or `datasets`, as in the Hub's addresses.
    fn plural(&self) -> &'static str {
        match self.kind {
            HubKind::Model => "models",
            HubKind::DataSet => "datasets",
        }
    }

    /// The name of its folder in the cache.
    fn folder(&self) -> String {
        format!("{}--{}", self.plural(), self.name.replace('/', "--"))
    }
}

/// Limits of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    /// A transfer that stands still for longer is broken off, and tried again.
    pub stall_ms: u64,
    /// Tries without progress before a transfer fails.
    pub tries_max: u32,
    /// The first pause between tries; each further one doubles, with jitter.
    pub back_off_first_ms: u64,
    /// The longest pause between tries, also when the Hub asks for a longer one.
    pub back_off_longest_ms: u64,
    /// A connection that takes longer is given up, and tried again.
    pub connect_ms: u64,
    /// A longer listing of a repository is refused.
    pub listing_bytes_max: usize,
    /// What the cache may hold; repositories that were used longest ago go first.
    pub cache_bytes_max: u64,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            stall_ms: 60_000,
            tries_max: 8,
            back_off_first_ms: 500,
            back_off_longest_ms: 60_000,
            connect_ms: 10_000,
            listing_bytes_max: 16 << 20,
            cache_bytes_max: 100 << 30,
        }
    }
}

/// A client of one Hub with one cache. All of it blocks: call it where that is fine.
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    cache: PathBuf,
    limits: HubLimits,
}

impl Hub {
    /// A client. The token goes to the endpoint, and to no host that the endpoint redirects to.
    pub fn new(endpoint: &str, token: Option<String>, cache: PathBuf, limits: HubLimits) -> Self {
        let token = token.filter(|token| !token.trim().is_empty());
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), token, cache, limits }
    }
}

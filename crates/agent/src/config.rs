//! What an agent must be told, and every limit it keeps.

use std::fmt;
use std::path::{Path, PathBuf};

use assay_domain::event::WorkerInfo;
use tokio::time::Instant;

use crate::offer::Look;

/// The secret that every RPC carries; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the text without surrounding white space.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where the coordinator is; looked up again at every connection.
#[derive(Debug, Clone)]
pub enum Coordinator {
    /// At a fixed address.
    At {
        /// Such as `http://127.0.0.1:7717`.
        url: String,
        /// Its token.
        token: Token,
    },
    /// On this machine: its data folder holds `coordinator.json` and `token`, which may change when it restarts.
    DataDir(PathBuf),
}

/// Why the coordinator's place is not known (yet).
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFound {
    #[error("`{}` cannot be read: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("`{}` does not name an address", path.display())]
    NoAddress { path: PathBuf },
}

impl Coordinator {
    /// Its URL and the text of its token, as they are now.
    pub(crate) fn look_up(&self) -> Result<(String, String), NotFound> {
        #[derive(serde::Deserialize)]
        struct Place {
            address: String,
        }
        match self {
            Self::At { url, token } => Ok((url.clone(), token.expose().to_owned())),
            Self::DataDir(folder) => {
                let path = folder.join("coordinator.json");
                let text = read(&path)?;
                let place: Place = serde_json::from_str(&text).map_err(|_| NotFound::NoAddress { path })?;
                let token = Token::new(&read(&folder.join("token"))?);
                Ok((format!("http://{}", place.address), token.expose().to_owned()))
            }
        }
    }
}

fn read(path: &Path) -> Result<String, NotFound> {
    std::fs::read_to_string(path).map_err(|source| NotFound::File { path: path.to_owned(), source })
}

/// What an agent must be told.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Where to work for.
    pub coordinator: Coordinator,
    /// Who it is and what it runs.
    pub worker: WorkerInfo,
    /// Its own folder, of no other process: `cache/` outlives attempts, `attempts/` does not outlive the agent.
    pub work_dir: PathBuf,
    /// Attempts that run at the same time.
    pub slots: u32,
    /// Generate jobs that its executor takes into one batch with another that was offered at the same time.
    pub seats: u32,
    /// What its device has free.
    pub memory: Look,
    /// When it will be gone; none for a machine without an end.
    pub ends_at: Option<Instant>,
    /// All limits.
    pub limits: AgentLimits,
}

impl AgentConfig {
    /// One slot, no seats and the default limits.
    pub fn new(coordinator: Coordinator, worker: WorkerInfo, work_dir: impl Into<PathBuf>) -> Self {
        Self {
            coordinator,
            worker,
            work_dir: work_dir.into(),
            slots: 1,
            seats: 0,
            memory: Look::default(),
            ends_at: None,
            limits: AgentLimits::default(),
        }
    }
}

/// All limits of an agent, with what happens at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentLimits {
    /// A connection or welcome that takes longer is given up, and tried again.
    pub connect_ms: u64,
    /// A call or answer that takes longer is given up, and asked again.
    pub answer_ms: u64,
    /// A connection that is silent is probed after this.
    pub keep_alive_ms: u64,
    /// It is given up when a probe is not answered for so long.
    pub keep_alive_wait_ms: u64,
    /// New progress goes out at most this often, and with every renewal anyway.
    pub progress_ms: u64,
    /// The first pause before connecting again; each further one doubles, with jitter.
    pub back_off_first_ms: u64,
    /// The longest pause before connecting again.
    pub back_off_longest_ms: u64,
    /// Messages to the coordinator that may wait; senders wait at the bound.
    pub outbound_queue_max: usize,
    /// The longest message accepted from the coordinator, in bytes; a longer one breaks the stream.
    pub message_bytes_max: usize,
    /// Log lines of an attempt that wait for the coordinator; the oldest are dropped and counted. The file keeps all.
    pub log_lines_max: usize,
    /// Log lines in one message.
    pub log_batch_lines_max: usize,
    /// A longer log line is cut, in bytes.
    pub log_line_bytes_max: usize,
    /// Bytes of an attempt's log file; later lines are shown live and kept nowhere.
    pub log_bytes_max: u64,
    /// Log files of attempts that are kept; the oldest go first.
    pub log_files_max: usize,
    /// How often log lines go to the coordinator.
    pub log_interval_ms: u64,
    /// How often what was logged since is uploaded, besides with each checkpoint and at the end.
    pub log_segment_ms: u64,
    /// At an attempt's end, the last of its log is given up after this.
    pub log_end_ms: u64,
    /// How often it looks at what it has to offer; told at once where that has changed much.
    pub offer_ms: u64,
    /// A cancelled run that has not ended after this is dropped where it stands.
    pub cancel_ms: u64,
    /// Finished results are offered for this long before they are given up.
    pub complete_patience_ms: u64,
    /// So long before the end of its life a worker takes nothing more and hands its trainings over.
    pub hand_over_ms: u64,
    /// After a shutdown request, running attempts are handed back within this, or left to expire.
    pub drain_ms: u64,
    /// At the end, the coordinator is given this long to end its side of the stream.
    pub close_ms: u64,
    /// Bytes of inputs kept between attempts; the least recently used go first.
    pub cache_bytes_max: u64,
    /// Objects sent or fetched at the same time by one attempt.
    pub transfers_max: usize,
    /// Tries of one object's transfer before the attempt fails as transient.
    pub transfer_tries_max: u32,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            answer_ms: 15_000,
            keep_alive_ms: 10_000,
            keep_alive_wait_ms: 5_000,
            progress_ms: 1_000,
            back_off_first_ms: 100,
            back_off_longest_ms: 5_000,
            outbound_queue_max: 64,
            message_bytes_max: 16 << 20,
            log_lines_max: 2_000,
            log_batch_lines_max: 200,
            log_line_bytes_max: 8 << 10,
            log_bytes_max: 64 << 20,
            log_files_max: 200,
            log_interval_ms: 300,
            log_segment_ms: 30_000,
            log_end_ms: 10_000,
            offer_ms: 15_000,
            cancel_ms: 120_000,
            complete_patience_ms: 3_600_000,
            hand_over_ms: 90_000,
            drain_ms: 30_000,
            close_ms: 1_000,
            cache_bytes_max: 64 << 30,
            transfers_max: 4,
            transfer_tries_max: 8,
        }
    }
}

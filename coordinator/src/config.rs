//! Every limit of the coordinator, with its unit in its name and what happens at the bound.

use std::net::SocketAddr;
use std::path::PathBuf;

use assay_domain::decide::schedule::Teams;
use assay_domain::job::RENEWALS_PER_LEASE;

use crate::admin::BackupSchedule;
use crate::hub::HubAccess;
use crate::journal::JournalConfig;

pub use teams::{MonthBudget, TeamBudget, TeamSetting, teams};

mod teams;

/// What a coordinator is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds everything: token, keys, journal, snapshots, index, objects.
    pub data_dir: PathBuf,
    /// Where to listen: loopback only; port 0 picks one.
    pub listen: SocketAddr,
    /// When backups are taken, if they are.
    pub backups: Option<BackupSchedule>,
    /// Where workers are sent for files of the Hub.
    pub hub: HubAccess,
    /// All bounds.
    pub limits: Limits,
}

impl Config {
    /// The defaults, for a data folder, on a port of the system's choice.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            backups: None,
            hub: HubAccess::default(),
            limits: Limits::default(),
        }
    }
}

/// The bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a lease lasts from each renewal; then its attempt is lost. A large fleet's lasts longer: see `renewals_per_s_max`.
    pub lease_ms: u64,
    /// Renewals of all connected workers in a second, one lease each; with more of them terms grow, so that it stays at that.
    pub renewals_per_s_max: u64,
    /// How long after its connection closed a worker may come back before its attempts are lost.
    pub reconnect_grace_ms: u64,
    /// How long a worker without connection and attempt is remembered; then it is forgotten, and registers again if it comes
    /// back. Counted from the start after a restart.
    pub gone_worker_ms: u64,
    /// Such workers remembered at most; of more, the ones gone longest are forgotten.
    pub gone_workers_max: usize,
    /// How long a job is held back at most, and half of it at least, after its first failed or lost attempt; doubles with each.
    pub retry_hold_ms: u64,
    /// The longest such hold.
    pub retry_hold_max_ms: u64,
    /// Attempts of a job that may fail or be lost before the job fails.
    pub attempts_max: usize,
    /// Attempts of a job that may crash, stall or lose their worker before the job fails.
    pub crashes_max: usize,
    /// Times that something a job made may be found bad in the object store before the job fails.
    pub losses_max: usize,
    /// Different jobs that may fail on a worker in a row before it gets no more.
    pub quarantine_jobs: usize,
    /// How long such a worker gets none, unless a person lifts that earlier. Counted from the start after a restart.
    pub quarantine_ms: u64,
    /// What teams may have; a matrix over its team's limit waits, and others go on.
    pub teams: Teams,
    /// Commands that wait for the engine; callers wait for a place.
    pub queue_max: usize,
    /// Commands decided before one sync.
    pub batch_commands_max: usize,
    /// Bytes of events after which a batch takes no further command.
    pub batch_bytes_max: usize,
    /// Messages that wait for a worker; one that reads slower is disconnected.
    pub outbound_max: usize,
    /// Connections of all kinds; later ones wait. The process's limit of open files may allow fewer.
    pub sockets_max: usize,
    /// A connection that has not said what it speaks by then is closed.
    pub silent_socket_ms: u64,
    /// Worker connections; further ones are refused.
    pub connections_max: usize,
    /// Attempts offered to one worker at once; asking for more gets this many.
    pub slots_max: u32,
    /// Journal records between snapshots.
    pub snapshot_records: u64,
    /// A segment of the journal that has reached this size gets no more batches.
    pub journal_segment_bytes: u64,
    /// Segments of the journal that stay for the audit, whatever snapshots have.
    pub journal_segments_kept: usize,
    /// Finished matrices are forgotten so long after their end, whenever a snapshot is due; 0: never.
    pub history_ms: u64,
    /// Log lines kept for each job; the oldest go.
    pub log_lines_max: usize,
    /// Bytes kept of a log line; the rest is cut.
    pub log_line_bytes_max: usize,
    /// Bytes of a stored part of an attempt's log; larger ones are refused.
    pub log_segment_bytes_max: u64,
    /// Jobs whose log tail is kept; the one written longest ago goes.
    pub log_jobs_max: usize,
    /// Jobs of one matrix; larger plans are refused.
    pub plan_jobs_max: usize,
    /// Items of one message of a worker; larger batches are refused.
    pub items_max: usize,
    /// Bytes of one progress value; larger ones are refused.
    pub progress_bytes_max: usize,
    /// Files of one `SignUpload` or keys of one `SignDownload`; larger requests are refused.
    pub signed_files_max: usize,
    /// Bytes of one object; larger uploads are refused.
    pub object_bytes_max: u64,
    /// How long a signed request can be begun.
    pub signed_ms: u64,
    /// The shortest interval between two views of a watch.
    pub watch_interval_min_ms: u32,
    /// Matrices on a page at most; larger pages get this many.
    pub page_max: u32,
    /// Watch and log streams together; further ones are refused.
    pub streams_max: usize,
    /// How long a stopping coordinator waits for open calls.
    pub drain_ms: u64,
}

impl Limits {
    /// What a lease lasts from each renewal in a fleet of so many workers.
    pub fn term_ms(&self, workers: usize) -> u64 {
        let between_ms = 1_000 * workers as u64 / self.renewals_per_s_max.max(1);
        self.lease_ms.max(between_ms * u64::from(RENEWALS_PER_LEASE))
    }

    /// The journal's share.
    pub fn journal(&self) -> JournalConfig {
        JournalConfig {
            segment_max_bytes: self.journal_segment_bytes,
            segments_kept: self.journal_segments_kept,
            ..JournalConfig::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease_ms: 30_000,
            renewals_per_s_max: 200,
            reconnect_grace_ms: 10_000,
            gone_worker_ms: 3_600_000,
            gone_workers_max: 1_000,
            retry_hold_ms: 1_000,
            retry_hold_max_ms: 60_000,
            attempts_max: 5,
            crashes_max: 3,
            losses_max: 3,
            quarantine_jobs: 3,
            quarantine_ms: 600_000,
            teams: Teams::default(),
            queue_max: 1_024,
            batch_commands_max: 512,
            batch_bytes_max: 8 << 20,
            outbound_max: 256,
            sockets_max: 16_384,
            silent_socket_ms: 10_000,
            connections_max: 10_000,
            slots_max: 64,
            snapshot_records: 4_096,
            journal_segment_bytes: 16 << 20,
            journal_segments_kept: 4,
            history_ms: 0,
            log_lines_max: 2_000,
            log_line_bytes_max: 4_096,
            log_segment_bytes_max: 128 << 20,
            log_jobs_max: 512,
            plan_jobs_max: 10_000,
            items_max: 1_024,
            progress_bytes_max: 16 << 10,
            signed_files_max: 1_024,
            object_bytes_max: 256 << 30,
            signed_ms: 3_600_000,
            watch_interval_min_ms: 50,
            page_max: 500,
            streams_max: 1_024,
            drain_ms: 5_000,
        }
    }
}

//! Backups that a serving coordinator takes by itself, every so often. They are read from the files as `admin backup` reads them, so
//! that the engine does nothing for them; a failure is told, and never ends the coordinator.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_domain::{Event, UnixMillis};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{AdminError, Backup, BackupPlace, shelf};
use crate::clock::Clock;
use crate::engine::Handle;
use crate::engine::command::Command;
use crate::index::ProbeCommand;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// After a failure the next try comes no later than this.
const RETRY_MAX_MS: u64 = 600_000;

/// When and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSchedule {
    /// A folder of nothing else on another disk than the data folder, or a bucket's prefix: each backup is a folder in it.
    pub to: BackupPlace,
    /// From one to the next.
    pub every_ms: u64,
    /// How many are kept; the oldest go, and only after a newer one was verified.
    pub keep: usize,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("cannot start the backup's thread")]
    Thread {
        #[source]
        source: std::io::Error,
    },
    #[error("the backup's thread ended unexpectedly: this is a bug")]
    Ended,
}

/// Takes backups until stopped.
#[derive(Debug)]
pub(crate) struct Backups {
    pub(crate) schedule: BackupSchedule,
    pub(crate) data_dir: PathBuf,
    pub(crate) probe: ProbeCommand,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Handle,
    pub(crate) stop: CancellationToken,
}

impl Backups {
    pub(crate) async fn run(self) {
        // The newest says when the next is due, whichever process took it.
        let place = self.schedule.to.clone();
        let newest = on_thread(move || shelf::newest(&place)).await.unwrap_or_else(|failed| {
            tracing::warn!(
                reason = assay_domain::chain(&failed),
                "earlier backups are not known: one is taken now"
            );
            None
        });
        let mut due = newest.map_or(self.clock.unix().0, |at| at.saturating_add(self.schedule.every_ms));
        loop {
            let now = self.clock.unix();
            // A clock that was set back does not put it off for longer than once.
            due = due.min(now.0.saturating_add(self.schedule.every_ms));
            if now.0 < due {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => continue,
                    () = self.stop.cancelled() => return,
                }
            }
            let taken = self.take(now).await;
            let pause_ms = match &taken {
                Ok(_) => self.schedule.every_ms,
                Err(_) => self.schedule.every_ms.min(RETRY_MAX_MS),
            };
            due = now.0.saturating_add(pause_ms);
            self.tell(taken).await;
        }
    }

    async fn take(&self, now: UnixMillis) -> Result<(String, Backup), Failed> {
        let (schedule, data_dir, probe) = (self.schedule.clone(), self.data_dir.clone(), self.probe.clone());
        on_thread(move || shelf::take(&schedule.to, schedule.keep, &data_dir, &probe, now)).await
    }

    /// Log, metric and audit.
    async fn tell(&self, taken: Result<(String, Backup), Failed>) {
        let at = self.clock.unix();
        assay_telemetry::metrics::backup(if taken.is_ok() { "taken" } else { "failed" });
        let event = match taken {
            Ok((name, made)) => {
                tracing::info!(
                    name,
                    sequence = made.last_sequence,
                    objects = made.objects,
                    "backup taken and verified"
                );
                for wrong in &made.wrong_objects {
                    tracing::error!(
                        wrong,
                        "the store itself has not what the state names: it is not in the backup"
                    );
                }
                let Backup { last_sequence: sequence, objects, object_bytes, .. } = made;
                let missing = made.wrong_objects.len();
                Event::BackupTaken { name, sequence, objects, object_bytes, missing, at }
            }
            Err(failed) => {
                let reason = assay_domain::chain(&failed);
                tracing::error!(reason, "there is no new backup: it is tried again");
                Event::BackupFailed { reason, at }
            }
        };
        // One that stops hears no more.
        let _ = self.engine.ask(|reply| Command::Note { event, reply }).await;
    }
}

/// On a thread of its own, which ends with the process: a stop does not wait for a long backup.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Failed> {
    let (answer, answered) = oneshot::channel();
    let started = std::thread::Builder::new().name(String::from("backup")).spawn(move || {
        // A coordinator that stops does not wait for it.
        let _ = answer.send(work().map_err(Failed::from));
    });
    started.map_err(|source| Failed::Thread { source })?;
    answered.await.unwrap_or(Err(Failed::Ended))
}

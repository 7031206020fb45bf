//! What a worker has to offer: looked at now and then, told with each word that it is ready, and at once when much of it changes.

use std::fmt;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assay_domain::job::Offer;
use tokio::time::{Instant, sleep_until};

use crate::config::AgentConfig;

/// Looks at how much memory of a device a next job could have, MiB. Called off the async runtime: it may take a while.
#[derive(Clone, Default)]
pub struct Look(Option<Arc<dyn Fn() -> Option<u64> + Send + Sync>>);

impl Look {
    /// A way to look.
    pub fn new(look: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(look)))
    }

    fn memory_mib(&self) -> Option<u64> {
        self.0.as_ref().and_then(|look| look())
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look(..)")
    }
}

pub(crate) struct Offers {
    memory: Look,
    work_dir: PathBuf,
    /// When it takes nothing more.
    ends_at: Option<Instant>,
    every: Duration,
    look_at: Instant,
    seats: u32,
    /// As it was looked at last.
    seen: Offer,
    said: Offer,
}

impl Offers {
    pub(crate) fn new(config: &AgentConfig) -> Self {
        let (memory, work_dir) = (config.memory.clone(), config.work_dir.clone());
        let every = Duration::from_millis(config.limits.offer_ms);
        let seen = look(&memory, &work_dir);
        let look_at = Instant::now() + every;
        let hand_over = Duration::from_millis(config.limits.hand_over_ms);
        let ends_at = config.ends_at.map(|end| end.checked_sub(hand_over).unwrap_or(end));
        Self { memory, work_dir, ends_at, every, look_at, seats: config.seats, seen, said: seen }
    }

    /// What is told now.
    pub(crate) fn now(&mut self) -> Offer {
        self.said = self.seen;
        let left = |end: Instant| end.saturating_duration_since(Instant::now()).as_secs();
        Offer { life_left_s: self.ends_at.map(left), seats: self.seats, ..self.seen }
    }

    /// Ends when there is much more or less than was told. Safe to cancel.
    pub(crate) async fn changed(&mut self) {
        loop {
            sleep_until(self.look_at).await;
            let (memory, work_dir) = (self.memory.clone(), self.work_dir.clone());
            let looked = tokio::task::spawn_blocking(move || look(&memory, &work_dir)).await;
            self.look_at = Instant::now() + self.every;
            // A look that panics tells nothing ever.
            let Ok(seen) = looked else { return pending().await };
            self.seen = seen;
            if seen.differs_from(self.said) {
                return;
            }
        }
    }
}

fn look(memory: &Look, work_dir: &Path) -> Offer {
    let (memory_free_mib, disk_free_mib) = (memory.memory_mib(), disk_free_mib(work_dir));
    Offer { memory_free_mib, disk_free_mib, ..Offer::default() }
}

/// What anyone may still write to the folder's file system.
fn disk_free_mib(folder: &Path) -> Option<u64> {
    let known = nix::sys::statvfs::statvfs(folder).ok()?;
    #[expect(clippy::useless_conversion, reason = "their width differs from system to system")]
    let bytes = u64::from(known.blocks_available()).saturating_mul(u64::from(known.fragment_size()));
    Some(bytes >> 20)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use assay_domain::event::WorkerInfo;
    use assay_domain::{DeviceKind, WorkerId};

    use super::*;
    use crate::{Coordinator, Token};

    #[tokio::test(start_paused = true)]
    async fn it_is_told_again_when_much_has_changed() {
        let worker = WorkerInfo {
            id: WorkerId::new("w"),
            host: String::new(),
            device: DeviceKind::Cpu,
            device_name: String::new(),
            memory_mib: 1000,
            kinds: Vec::new(),
            version: String::new(),
            usd_per_hour: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let place = Coordinator::At { url: String::new(), token: Token::new("t") };
        let mut config = AgentConfig::new(place, worker, folder.path());
        let (free, looks) = (Arc::new(AtomicU64::new(800)), Arc::new(AtomicU64::new(0)));
        let (now, counted) = (Arc::clone(&free), Arc::clone(&looks));
        config.memory = Look::new(move || {
            // Little changes at the second look, much at the third.
            if counted.fetch_add(1, Ordering::SeqCst) == 2 {
                now.store(400, Ordering::SeqCst);
            }
            Some(now.load(Ordering::SeqCst))
        });
        config.limits.hand_over_ms = 20_000;
        config.ends_at = Some(Instant::now() + Duration::from_secs(120));
        let mut offers = Offers::new(&config);
        let first = offers.now();
        assert_eq!((first.memory_free_mib, first.life_left_s), (Some(800), Some(100)));
        assert!(first.disk_free_mib > Some(0));
        free.store(790, Ordering::SeqCst);
        offers.changed().await;
        assert_eq!(looks.load(Ordering::SeqCst), 3);
        let second = offers.now();
        assert_eq!((second.memory_free_mib, second.life_left_s), (Some(400), Some(70)));
    }
}

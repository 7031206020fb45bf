//! How long finished matrices are kept: those that ended before a limit leave the index, and with it every later snapshot.

use assay_domain::{Event, UnixMillis};

use super::{Engine, EngineError};

impl Engine {
    /// Called when a snapshot is due, so that what has left is not in it.
    pub(super) fn forget_history(&mut self) -> Result<(), EngineError> {
        let at = self.clock.unix();
        let before = UnixMillis(at.0.saturating_sub(self.limits.history_ms));
        if self.limits.history_ms == 0 || !self.archive.has_older(before)? {
            return Ok(());
        }
        self.record(Event::HistoryForgotten { before, at })?;
        self.commit()
    }
}

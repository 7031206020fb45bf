//! Ctrl-C once stops in good order, twice kills; both are safe for what is stored.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::print;

/// What the person has asked for.
pub(super) struct Signals {
    /// Stop in good order.
    pub(super) stop: CancellationToken,
    /// Stop now.
    pub(super) kill: CancellationToken,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let signals = Self { stop: CancellationToken::new(), kill: CancellationToken::new() };
        let (stop, kill) = (signals.stop.clone(), signals.kill.clone());
        tokio::spawn(async move {
            for token in [stop, kill] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                print::say("stopping; ctrl-C again kills");
                token.cancel();
            }
        });
        Ok(signals)
    }
}

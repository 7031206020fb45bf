//! The way from anywhere in the process to its end: after a failed sync nothing may be promised any more.

use tokio::sync::watch;

use crate::objects::local::ObjectError;

/// Says that the process must stop; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Fatal {
    sender: watch::Sender<Option<String>>,
}

impl Fatal {
    pub(crate) fn new() -> Self {
        Self { sender: watch::Sender::new(None) }
    }

    /// Ends the process if the store must not be used any more.
    pub(crate) fn notice(&self, error: &ObjectError) {
        if let ObjectError::Poisoned { .. } = error {
            self.sender.send_if_modified(|reason| {
                let first = reason.is_none();
                reason.get_or_insert_with(|| assay_domain::chain(error));
                first
            });
        }
    }

    /// Waits for the reason.
    pub(crate) async fn reason(&self) -> String {
        let mut receiver = self.sender.subscribe();
        let reason = receiver.wait_for(Option::is_some).await;
        // We hold a sender, so that waiting cannot fail.
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }
}

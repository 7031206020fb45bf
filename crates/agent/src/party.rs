//! Attempts that were offered together: whoever runs one may wait for the others, and share one run with them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// One attempt's place among those that it was offered with.
pub(crate) struct Seat {
    /// How many of them are on their way to their run.
    coming: watch::Sender<u32>,
    size: NonZeroU32,
    is_here: AtomicBool,
}

impl Seat {
    /// Places for so many attempts; at least one.
    pub(crate) fn party(size: u32) -> impl Iterator<Item = Arc<Self>> {
        let size = NonZeroU32::new(size).unwrap_or(NonZeroU32::MIN);
        let coming = watch::Sender::new(size.get());
        let seat = move || Arc::new(Self { coming: coming.clone(), size, is_here: AtomicBool::new(false) });
        std::iter::repeat_with(seat).take(size.get() as usize)
    }

    /// Attempts in the party.
    pub(crate) const fn size(&self) -> NonZeroU32 {
        self.size
    }

    /// This one is here, or will never be.
    pub(crate) fn settle(&self) {
        if !self.is_here.swap(true, Ordering::SeqCst) {
            self.coming.send_modify(|coming| *coming -= 1);
        }
    }

    /// Returns when none is on its way any more. Safe to cancel.
    pub(crate) async fn all_settled(&self) {
        // The sender is ours: it does not close while we wait.
        let _ = self.coming.subscribe().wait_for(|coming| *coming == 0).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_ends_early_is_not_waited_for() {
        let mut party = Seat::party(3);
        let (first, second, third) = (party.next().unwrap(), party.next().unwrap(), party.next().unwrap());
        assert!(party.next().is_none() && first.size().get() == 3);
        first.settle();
        first.settle();
        assert!(first.all_settled().now_or_never().is_none());
        drop(second);
        assert!(first.all_settled().now_or_never().is_none());
        third.settle();
        first.all_settled().now_or_never().expect("all are here or gone");
    }

    #[test]
    fn one_alone_waits_for_nobody() {
        let alone = Seat::party(0).next().unwrap();
        alone.settle();
        alone.all_settled().now_or_never().expect("nobody else is on the way");
    }
}

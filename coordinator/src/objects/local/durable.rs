//! Which objects this process has made durable itself: their folders need no further sync before something depends on them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::{ObjectKey, lock};

/// How many objects are remembered before the memory starts afresh; a forgotten one is synced once more, and that is all.
const REMEMBERED_MAX: usize = 16_384;

/// Names an object only while nothing has removed its file since it was synced.
#[derive(Debug, Default)]
pub(super) struct Durable {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    keys: BTreeSet<ObjectKey>,
    /// Counts beginnings and ends of removals: an upload that saw another count may have synced a file that is gone.
    removals: u64,
}

/// The count of removals at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before(u64);

impl Durable {
    /// To be asked before an object is linked.
    pub(super) fn look(&self) -> Before {
        Before(lock(&self.known).removals)
    }

    /// The object was linked after `before`, and its folder is synced.
    pub(super) fn add(&self, key: &ObjectKey, before: Before) {
        let mut known = lock(&self.known);
        if known.removals != before.0 {
            return;
        }
        if known.keys.len() >= REMEMBERED_MAX {
            known.keys.clear();
        }
        known.keys.insert(key.clone());
    }

    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        lock(&self.known).keys.contains(key)
    }

    /// Removes the object's file.
    pub(super) fn without<T>(&self, key: &ObjectKey, remove: impl FnOnce() -> T) -> T {
        self.forget(key);
        let removed = remove();
        self.forget(key);
        removed
    }

    fn forget(&self, key: &ObjectKey) {
        let mut known = lock(&self.known);
        known.removals += 1;
        known.keys.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ObjectKey {
        ObjectKey::parse("jobs/m/1/e1-a1/verdicts/verdicts.jsonl").unwrap()
    }

    #[test]
    fn an_object_that_a_removal_touched_is_not_durable() {
        let durable = Durable::default();
        let before = durable.look();
        durable.add(&key(), before);
        assert!(durable.has(&key()));
        durable.without(&key(), || assert!(!durable.has(&key()), "not while its file goes"));
        assert!(!durable.has(&key()));
        // Linked before the removal, told after it.
        durable.add(&key(), before);
        assert!(!durable.has(&key()));
        // Linked while a removal runs, which then takes the new file.
        let during = durable.without(&key(), || durable.look());
        durable.add(&key(), during);
        assert!(!durable.has(&key()));
    }

    #[test]
    fn memory_is_bounded() {
        let durable = Durable::default();
        for number in 0..=REMEMBERED_MAX {
            let key = ObjectKey::parse(&format!("sha256/{number}")).unwrap();
            durable.add(&key, durable.look());
        }
        assert_eq!(lock(&durable.known).keys.len(), 1);
    }
}

//! What can go wrong with the index. None of it loses state: the index can always be rebuilt.

/// Why the index cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// sled refused.
    #[error(
        "index store failed: stop the process; at the next start the index is checked, and rebuilt if damaged"
    )]
    Store(#[from] sled::Error),
    /// A stored value is not what was written.
    #[error("index entry {tree}/{key} is damaged ({reason}): restart, which rebuilds the index", key = key.escape_ascii())]
    Damaged {
        /// The tree.
        tree: String,
        /// The key.
        key: Vec<u8>,
        /// What is wrong.
        reason: &'static str,
    },
    /// The value is over the limit. Nothing was written.
    #[error(
        "index value of {bytes} bytes for {tree} is over the limit of {limit_bytes}: keep large values in the object store"
    )]
    ValueTooLarge {
        /// The tree.
        tree: String,
        /// The value's size.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The key is empty or over the limit. Nothing was written.
    #[error("index key of {bytes} bytes for {tree} is not 1 to {limit_bytes} bytes long")]
    KeyLength {
        /// The tree.
        tree: String,
        /// The key's size.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The applied sequence went back. Nothing was written.
    #[error("index has applied sequence {applied}, and cannot go back to {given}: skip what it has applied")]
    GoesBack {
        /// The sequence that the index has.
        applied: u64,
        /// The sequence given.
        given: u64,
    },
}

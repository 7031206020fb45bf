//! Reading ranges of entries by pages.

use std::ops::Bound;

use super::layout::entry_key;
use super::{Index, IndexError};

/// The largest page, whatever is asked for.
pub const PAGE_MAX_ENTRIES: usize = 1000;
/// A page ends early once its values reach this size.
pub const PAGE_MAX_BYTES: usize = 16 << 20;

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// Which entries a page is of.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// The tree.
    pub tree: &'a str,
    /// Only keys that begin with this; empty: all.
    pub prefix: &'a [u8],
    /// Only keys behind this one, in the order asked for: the `next` of the page before.
    pub after: Option<&'a [u8]>,
    /// Which end comes first.
    pub order: Order,
    /// At most this many entries, and at most `PAGE_MAX_ENTRIES`.
    pub limit: usize,
}

/// Some entries, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Keys and values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the next page starts; `None`: there are no more.
    pub next: Option<Vec<u8>>,
}

impl Index {
    /// Reads a page of entries.
    pub fn page(&self, request: &PageRequest<'_>) -> Result<Page, IndexError> {
        let _reading = self.reading();
        let head_bytes = request.tree.len() + 1;
        let range = bounds(request);
        let limit = request.limit.clamp(1, PAGE_MAX_ENTRIES);
        let mut stored = self.store().range::<Vec<u8>, _>(range);
        let mut page = Page { entries: Vec::new(), next: None };
        let mut bytes = 0;
        loop {
            let next = match request.order {
                Order::Ascending => stored.next(),
                Order::Descending => stored.next_back(),
            };
            let Some(pair) = next else { return Ok(page) };
            if page.entries.len() >= limit || bytes >= PAGE_MAX_BYTES {
                page.next = page.entries.last().map(|(key, _)| key.clone());
                return Ok(page);
            }
            let (stored_key, stored_value) = pair?;
            let key = stored_key[head_bytes..].to_vec();
            let value = self.load(request.tree, &key, &stored_value)?;
            bytes += value.len();
            page.entries.push((key, value));
        }
    }
}

fn bounds(request: &PageRequest<'_>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let start = entry_key(request.tree, request.prefix);
    let mut lower = Bound::Included(start.clone());
    let mut upper = match successor(start.clone()) {
        Some(end) => Bound::Excluded(end),
        None => Bound::Unbounded,
    };
    if let Some(after) = request.after {
        let after = entry_key(request.tree, after);
        match request.order {
            Order::Ascending if after >= start => lower = Bound::Excluded(after),
            Order::Descending if is_inside(&after, &upper) => {
                upper = Bound::Excluded(after.max(start.clone()));
            }
            Order::Ascending | Order::Descending => {}
        }
    }
    // sled panics on ranges that end before they start.
    if let (Bound::Excluded(low) | Bound::Included(low), Bound::Excluded(high)) = (&lower, &upper)
        && low >= high
    {
        return (Bound::Included(start.clone()), Bound::Excluded(start));
    }
    (lower, upper)
}

fn is_inside(key: &[u8], upper: &Bound<Vec<u8>>) -> bool {
    match upper {
        Bound::Excluded(end) => key < end.as_slice(),
        Bound::Included(_) | Bound::Unbounded => true,
    }
}

/// The smallest key greater than all that begin with `prefix`.
fn successor(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

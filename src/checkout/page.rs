//! Pages of the operators' lists: how much a page takes, and where the next one goes on.

use std::time::SystemTime;

/// Bytes of a page's entries after which it takes no more. A message has at most 256 KiB.
const PAGE_BYTES_MAX: usize = 240 * 1024;

/// Says how much of a list a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Entries to look at, at least 1.
    pub size: usize,
    /// The last entry that the page before looked at. `None` means the first page.
    pub after: Option<PagePosition>,
}

/// Names an entry's place in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagePosition {
    /// The time that the list is ordered by. `None` where the entry has none, or where the list is ordered by ids alone.
    pub at: Option<SystemTime>,
    /// The entry's id.
    pub id: i64,
}

impl PagePosition {
    /// Names a place in a list that is ordered by ids.
    pub(super) fn of_id(id: i64) -> Self {
        Self { at: None, id }
    }
}

/// Shows a page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in the list's order.
    pub entries: Vec<T>,
    /// Where the next page goes on. `None` means that this page is the last.
    pub next: Option<PagePosition>,
}

impl<T> Page<T> {
    /// Cuts what was read to a page.
    ///
    /// `read` has up to `size + 1` entries in the list's order. The page takes entries as long as their `bytes` fit into a
    /// message, and at least one.
    pub(super) fn of(
        mut read: Vec<T>,
        size: usize,
        bytes: impl Fn(&T) -> usize,
        position: impl Fn(&T) -> PagePosition,
    ) -> Self {
        let totals = read.iter().scan(0_usize, |total, entry| {
            *total += bytes(entry);
            Some(*total)
        });
        let fits = totals.take_while(|total| *total <= PAGE_BYTES_MAX).count().clamp(1, size.max(1));
        let next = if read.len() > fits { read.get(fits - 1).map(position) } else { None };
        read.truncate(fits);
        Self { entries: read, next }
    }

    /// Leaves out the entries that the caller doesn't ask for. So a page may have fewer entries, also when more follow.
    pub(super) fn keeping(mut self, wanted: impl Fn(&T) -> bool) -> Self {
        self.entries.retain(wanted);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(read: Vec<i64>, size: usize, bytes: usize) -> (Vec<i64>, Option<i64>) {
        let page = Page::of(read, size, |_| bytes, |id| PagePosition::of_id(*id));
        (page.entries, page.next.map(|next| next.id))
    }

    #[test]
    fn a_page_ends_with_its_size_or_with_a_message() {
        assert_eq!(page(vec![], 2, 1), (vec![], None));
        assert_eq!(page(vec![9, 8], 2, 1), (vec![9, 8], None));
        assert_eq!(page(vec![9, 8, 7], 2, 1), (vec![9, 8], Some(8)));
        assert_eq!(page(vec![9, 8, 7], 2, PAGE_BYTES_MAX), (vec![9], Some(9)));
        assert_eq!(page(vec![9, 8, 7], 2, PAGE_BYTES_MAX + 1), (vec![9], Some(9)), "one is always shown");
    }

    #[test]
    fn what_a_page_leaves_out_does_not_move_the_next_one() {
        let page = Page::of(vec![9, 8, 7], 2, |_| 1, |id| PagePosition::of_id(*id)).keeping(|id| *id == 9);
        assert_eq!((page.entries, page.next), (vec![9], Some(PagePosition::of_id(8))));
    }
}

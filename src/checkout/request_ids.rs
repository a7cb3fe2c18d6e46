//! request_ids that the server makes up.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use crate::domain::RequestId;

/// Returns the caller's request_id, or makes one up: the server needs one for its own repeats too.
pub fn request_id_or_made_up(request_id: Option<RequestId>) -> RequestId {
    static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);
    static SEQUENCE: AtomicU64 = AtomicU64::new(0);
    request_id.unwrap_or_else(|| RequestId::made_up(*PROCESS, SEQUENCE.fetch_add(1, Ordering::Relaxed)))
}

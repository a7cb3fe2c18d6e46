//! The token that says where a list goes on. The caller sends it back unchanged, with the same filter.
//!
//! A token is the place of the last entry that the page before looked at, and a checksum of that place, the list and its
//! filter. So a token that was cut off or made up, or that belongs to another list, is refused, and never leads to the
//! wrong page. It is no secret: a caller may see every page.

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    checkout::page::{Page, PagePosition},
    domain::Invalid,
};

const CHECKSUM_BYTES: usize = 8;
/// Stands for "no time" in a token. No entry has a time so late.
const NO_TIME: u64 = u64::MAX;

/// Names a list and its filter, which all pages of a listing have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    name: String,
}

impl Listing {
    /// Names the list that `rpc` returns for a filter. Filters that differ have texts that differ.
    pub(super) fn new(rpc: &str, filter: &impl std::fmt::Debug) -> Self {
        Self { name: format!("{rpc} {filter:?}") }
    }

    /// Returns the token of the page that goes on after `position`.
    pub(super) fn token(&self, position: PagePosition) -> String {
        let place = place(position);
        let mut bytes = place.to_vec();
        bytes.extend(self.checksum(place));
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns a page as messages, and its next_page_token.
    pub(super) fn show<T, M>(&self, page: Page<T>, message: impl Fn(T) -> M) -> (Vec<M>, String) {
        let next_page_token = page.next.map(|next| self.token(next)).unwrap_or_default();
        (page.entries.into_iter().map(message).collect(), next_page_token)
    }

    /// Reads the field `page_token` of a request: where the page before ended. `None`: the first page.
    pub(super) fn parse(&self, token: &str) -> Result<Option<PagePosition>, Invalid> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = || {
            Invalid::new("page_token", "must be the next_page_token of a call of the same list with the same filter")
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
        let (place, checksum) = bytes.split_first_chunk::<16>().ok_or_else(refused)?;
        if checksum != self.checksum(*place) {
            return Err(refused());
        }
        Ok(Some(position(*place)))
    }

    fn checksum(&self, place: [u8; 16]) -> [u8; CHECKSUM_BYTES] {
        let digest = Sha256::new().chain_update(place).chain_update(&self.name).finalize();
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
        checksum
    }
}

/// Writes a position: the microseconds since 1970, then the id.
fn place(PagePosition { at, id }: PagePosition) -> [u8; 16] {
    let since_1970 = at.map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let micros = since_1970.and_then(|since| u64::try_from(since.as_micros()).ok()).unwrap_or(NO_TIME);
    let mut place = [0; 16];
    place[..8].copy_from_slice(&micros.to_be_bytes());
    place[8..].copy_from_slice(&id.to_be_bytes());
    place
}

fn position(place: [u8; 16]) -> PagePosition {
    let [micros, id] = [0, 8].map(|from| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&place[from..from + 8]);
        bytes
    });
    let micros = u64::from_be_bytes(micros);
    let at = (micros != NO_TIME).then(|| SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
    PagePosition { at, id: i64::from_be_bytes(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Listing {
        Listing::new("ListPaymentExceptions", &(None::<i64>, true))
    }

    fn positions() -> [PagePosition; 5] {
        let at = |micros| Some(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        [
            PagePosition { at: None, id: 1 },
            PagePosition { at: None, id: i64::MAX },
            PagePosition { at: at(0), id: 77 },
            PagePosition { at: at(1_737_981_120_000_001), id: 77 },
            PagePosition { at: at(253_402_300_799_999_999), id: 77 },
        ]
    }

    #[test]
    fn a_token_leads_back_to_its_place() {
        for position in positions() {
            assert_eq!(all().parse(&all().token(position)), Ok(Some(position)));
        }
        assert_eq!(all().parse(""), Ok(None));
    }

    #[test]
    fn any_other_token_is_refused() {
        for position in positions() {
            let good = all().token(position);
            let mut bad: Vec<String> = ["1", "77", "AAAAAAAAAE0", "?", "é", " "].map(str::to_owned).to_vec();
            bad.push(Listing::new("ListPaymentExceptions", &(Some(1), true)).token(position));
            bad.push(Listing::new("ListPaymentExceptions", &(None::<i64>, false)).token(position));
            bad.push(Listing::new("ListProducts", &(None::<i64>, true)).token(position));
            bad.push(format!("{good}="));
            bad.push(format!("{good}AAAA"));
            for index in 0..good.len() {
                bad.push(good[..index].to_owned());
                let other = if good.as_bytes()[index] == b'B' { "C" } else { "B" };
                bad.push(format!("{}{other}{}", &good[..index], &good[index + 1..]));
            }
            for token in bad.iter().filter(|token| !token.is_empty()) {
                assert_eq!(all().parse(token).unwrap_err().field, "page_token", "{token:?}");
            }
        }
    }
}

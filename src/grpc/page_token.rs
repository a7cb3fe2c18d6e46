//! The token that says where a listing continues. The caller sends it back unchanged, with the same filters.
//!
//! A token is the last id of the page before, and a checksum of that id and the filters. So a token that was cut off or
//! made up, or that belongs to another listing, is refused, and never leads to the wrong page. It is no secret: a
//! caller may see every page.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::domain::{Invalid, PaymentExceptionId, ProductId};

const ID_BYTES: usize = size_of::<i64>();
const CHECKSUM_BYTES: usize = 8;

/// Holds the filters, which all pages of a listing have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listing {
    /// Lists only the exceptions of this product.
    pub(super) product_id: Option<ProductId>,
    /// Lists resolved exceptions, too.
    pub(super) include_resolved: bool,
}

impl Listing {
    /// Returns the token of the page after the page that ends with `last`.
    pub(super) fn token(self, last: PaymentExceptionId) -> String {
        let mut bytes = last.get().to_be_bytes().to_vec();
        bytes.extend(self.checksum(last));
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the field `page_token` of a request: the last exception of the page before. `None`: the first page.
    pub(super) fn parse(self, token: &str) -> Result<Option<PaymentExceptionId>, Invalid> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = || {
            let description = "must be the next_page_token of a call with the same product_id and include_resolved";
            Invalid::new("page_token", description)
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
        let (id, checksum) = bytes.split_first_chunk::<ID_BYTES>().ok_or_else(refused)?;
        let last = PaymentExceptionId::stored(i64::from_be_bytes(*id));
        if checksum != self.checksum(last) {
            return Err(refused());
        }
        Ok(Some(last))
    }

    fn checksum(self, last: PaymentExceptionId) -> [u8; CHECKSUM_BYTES] {
        let Self { product_id, include_resolved } = self;
        let product_id = product_id.map_or(0, ProductId::get);
        let digest = Sha256::digest(format!("payment_exceptions {product_id} {include_resolved} {last}"));
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
        checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Listing = Listing { product_id: None, include_resolved: true };

    #[test]
    fn a_token_leads_back_to_its_place() {
        for id in [1, 77, i64::MAX] {
            let id = PaymentExceptionId::stored(id);
            assert_eq!(ALL.parse(&ALL.token(id)), Ok(Some(id)));
        }
        assert_eq!(ALL.parse(""), Ok(None));
    }

    #[test]
    fn any_other_token_is_refused() {
        let good = ALL.token(PaymentExceptionId::stored(77));
        let of_a_product = Listing { product_id: Some(ProductId::stored(1)), ..ALL };
        let unresolved = Listing { include_resolved: false, ..ALL };
        let mut bad: Vec<String> = ["1", "77", "AAAAAAAAAE0", "?", "é", " "].map(str::to_owned).to_vec();
        bad.push(of_a_product.token(PaymentExceptionId::stored(77)));
        bad.push(unresolved.token(PaymentExceptionId::stored(77)));
        bad.push(format!("{good}="));
        bad.push(format!("{good}AAAA"));
        for index in 0..good.len() {
            bad.push(good[..index].to_owned());
            let other = if good.as_bytes()[index] == b'B' { "C" } else { "B" };
            bad.push(format!("{}{other}{}", &good[..index], &good[index + 1..]));
        }
        for token in bad.iter().filter(|token| !token.is_empty()) {
            assert_eq!(ALL.parse(token).unwrap_err().field, "page_token", "{token:?}");
        }
    }
}

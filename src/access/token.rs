//! Tokens: only their hashes are kept, and they are compared in constant time.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Limits a token that a caller presents, in bytes. A shorter one can't have 32 random bytes.
const TOKEN_BYTES_MIN: usize = 32;
const TOKEN_BYTES_MAX: usize = 512;
/// Holds the hash of nothing, and that of a line break alone: what is left where making a token has failed.
const HASHES_OF_NOTHING: [&str; 2] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
];

/// Holds the SHA-256 of a token, as four words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u64; 4]);

/// Says why a text is no hash of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoHash {
    /// It doesn't have 64 hexadecimal digits.
    Digits,
    /// It is the hash of an empty text.
    OfNothing,
}

impl TokenHash {
    /// Hashes a token that a caller presents. `None`: it is too short or too long to be one.
    pub(super) fn of_presented(token: &[u8]) -> Option<Self> {
        let is_one = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
        is_one.then(|| Self::of_bytes(&Sha256::digest(token).into()))
    }

    /// Reads a hash as `sha256sum` prints it.
    pub(super) fn parse(hex: &str) -> Result<Self, NoHash> {
        if HASHES_OF_NOTHING.iter().any(|nothing| hex.eq_ignore_ascii_case(nothing)) {
            return Err(NoHash::OfNothing);
        }
        let mut bytes = [0; 32];
        match base16ct::mixed::decode(hex, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Ok(Self::of_bytes(&bytes)),
            Ok(_) | Err(_) => Err(NoHash::Digits),
        }
    }

    fn of_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    fn is(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// Finds a hash among others, by comparing it with all of them. Returns what stands beside it.
pub(super) fn find(hashes: &[(TokenHash, usize)], presented: &TokenHash) -> Option<usize> {
    let (mut is_found, mut found) = (Choice::from(0), 0);
    for (hash, beside) in hashes {
        let is_it = hash.is(presented);
        is_found |= is_it;
        found = u64::conditional_select(&found, &(*beside as u64), is_it);
    }
    usize::try_from(found).ok().filter(|_| is_found.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(token: &str) -> TokenHash {
        TokenHash::of_presented(token.as_bytes()).unwrap()
    }

    #[test]
    fn a_hash_is_what_sha256sum_prints_of_the_token() {
        let token = "0123456789abcdef0123456789abcdef";
        let printed = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";
        let printed = TokenHash::parse(printed).unwrap();
        assert!(hash(token) == printed);
        assert_eq!(TokenHash::parse("ab").err(), Some(NoHash::Digits));
        assert_eq!(TokenHash::parse(&"g".repeat(64)).err(), Some(NoHash::Digits));
        assert_eq!(TokenHash::parse(&"a".repeat(66)).err(), Some(NoHash::Digits));
        for nothing in HASHES_OF_NOTHING {
            assert_eq!(TokenHash::parse(nothing).err(), Some(NoHash::OfNothing));
        }
    }

    #[test]
    fn a_token_has_32_to_512_bytes() {
        for (bytes, is_one) in [(0, false), (31, false), (32, true), (512, true), (513, false)] {
            assert_eq!(TokenHash::of_presented(&vec![b'x'; bytes]).is_some(), is_one, "{bytes}");
        }
    }

    #[test]
    fn a_token_is_found_wherever_its_hash_stands() {
        let tokens: Vec<String> = (0..50).map(|number| format!("{number:064}")).collect();
        let hashes: Vec<_> = tokens.iter().enumerate().map(|(number, token)| (hash(token), number)).collect();
        for (number, token) in tokens.iter().enumerate() {
            assert_eq!(find(&hashes, &hash(token)), Some(number));
        }
        assert_eq!(find(&hashes, &hash(&"x".repeat(64))), None);
        assert_eq!(find(&[], &hash(&tokens[0])), None);
    }
}

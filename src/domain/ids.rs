//! Ids, keys and quantities as types that hold valid values only.
//!
//! `parse` is the one way in. Its error names the field of the request, so that it can be answered as it is.

use std::fmt;

/// Limits the bytes of a request_id or buyer_id.
pub const CALLER_ID_LENGTH_MAX: usize = 255;
/// Limits the bytes of an idempotency_key or payment_id.
pub const PROVIDER_ID_LENGTH_MAX: usize = 255;
/// Limits the characters of a product's name.
pub const NAME_LENGTH_MAX: usize = 255;
/// Limits the characters of a reason or note.
pub const REMARK_LENGTH_MAX: usize = 1000;

/// Names a field of a request whose value can't be taken, and says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The field, as it is called in the request.
    pub field: &'static str,
    /// What is wrong and what to send. The text has no subject, such as "must be at least 1, got 0".
    pub description: String,
}

impl Invalid {
    /// Says what is wrong with `field`.
    pub fn new(field: &'static str, description: impl Into<String>) -> Self {
        let description = description.into();
        Self { field, description }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.description)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(i64);

        impl $name {
            /// Takes an id from a request. It has to be at least 1.
            pub fn parse(value: i64) -> Result<Self, Invalid> {
                if value < 1 {
                    return Err(Invalid::new($field, format!("must be at least 1, got {value}")));
                }
                Ok(Self(value))
            }

            /// Takes an id that the database gave.
            pub fn stored(value: i64) -> Self {
                Self(value)
            }

            /// Returns the number.
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Identifies a product. It is at least 1.
    ProductId, "product_id"
);
id!(
    /// Identifies a hold. It is at least 1.
    HoldId, "hold_id"
);
id!(
    /// Identifies an order. It is at least 1.
    OrderId, "order_id"
);
id!(
    /// Identifies a payment exception. It is at least 1.
    PaymentExceptionId, "exception_id"
);
id!(
    /// Identifies a payment event that was taken. It is at least 1.
    PaymentEventId, "event_id"
);
id!(
    /// Identifies an operator's action. It is at least 1.
    OperatorActionId, "action_id"
);

/// Counts units. It is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i32);

impl Quantity {
    /// Takes the field `qty` of a request. It has to be at least 1.
    pub fn parse(value: i32) -> Result<Self, Invalid> {
        if value < 1 {
            return Err(Invalid::new("qty", format!("must be at least 1, got {value}")));
        }
        Ok(Self(value))
    }

    /// Takes a quantity that the database gave.
    pub fn stored(value: i32) -> Self {
        Self(value)
    }

    /// Returns the number.
    pub fn get(self) -> i32 {
        self.0
    }

    /// Returns the number as an int64, for sums.
    pub fn units(self) -> i64 {
        i64::from(self.0)
    }
}

fn parse_caller_id(field: &'static str, value: &str) -> Result<Box<[u8]>, Invalid> {
    let is_bare = value.trim() == value && !value.chars().any(char::is_control);
    if value.is_empty() || value.len() > CALLER_ID_LENGTH_MAX || !is_bare {
        return Err(Invalid::new(
            field,
            format!(
                "must be 1 to {CALLER_ID_LENGTH_MAX} bytes of UTF-8 without control characters and without a space at \
                either end"
            ),
        ));
    }
    Ok(value.as_bytes().into())
}

fn parse_provider_id(field: &'static str, value: &str) -> Result<Box<[u8]>, Invalid> {
    if value.is_empty() || value.len() > PROVIDER_ID_LENGTH_MAX {
        return Err(Invalid::new(field, format!("must be 1 to {PROVIDER_ID_LENGTH_MAX} bytes, got {}", value.len())));
    }
    Ok(value.as_bytes().into())
}

/// Makes a create call repeatable. A caller's request_id has 1 to 255 bytes of UTF-8, compared byte for byte.
///
/// Where a caller sends none, the server makes one up. So the server can repeat the call itself after a commit whose
/// outcome it never learned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<[u8]>);

impl RequestId {
    /// Takes the field `request_id` of a request.
    pub fn parse(value: &str) -> Result<Self, Invalid> {
        parse_caller_id("request_id", value).map(Self)
    }

    /// Makes a request_id that no caller can send, because it starts with a zero byte.
    ///
    /// `process` differs between processes, and `sequence` differs within a process. In this order, neighbours in time
    /// are neighbours in the index.
    pub fn made_up(process: u64, sequence: u64) -> Self {
        let mut bytes = [0; 17];
        bytes[1..9].copy_from_slice(&process.to_be_bytes());
        bytes[9..].copy_from_slice(&sequence.to_be_bytes());
        Self(Box::new(bytes))
    }

    /// Takes a value that the database gave.
    pub fn stored(value: Vec<u8>) -> Self {
        Self(value.into())
    }

    /// Tells whether a caller sent it.
    pub fn is_callers(&self) -> bool {
        self.0.first() != Some(&0)
    }

    /// Returns the bytes, as stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Names a buyer: 1 to 255 bytes of UTF-8, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuyerId(Box<[u8]>);

impl BuyerId {
    /// Takes the field `buyer_id` of a request.
    pub fn parse(value: &str) -> Result<Self, Invalid> {
        parse_caller_id("buyer_id", value).map(Self)
    }

    /// Takes a value that the database gave.
    pub fn stored(value: Vec<u8>) -> Self {
        Self(value.into())
    }

    /// Returns the bytes, as stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuyerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

/// Holds the payment provider's key of one event: 1 to 255 bytes, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(Box<[u8]>);

impl IdempotencyKey {
    /// Takes the field `idempotency_key` of a request.
    pub fn parse(value: &str) -> Result<Self, Invalid> {
        parse_provider_id("idempotency_key", value).map(Self)
    }

    /// Takes a value that the database gave.
    pub fn stored(value: Vec<u8>) -> Self {
        Self(value.into())
    }

    /// Returns the bytes, as stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

/// Identifies a payment at the payment provider: 1 to 255 bytes, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PaymentId(Box<[u8]>);

impl PaymentId {
    /// Takes the field `payment_id` of a request.
    pub fn parse(value: &str) -> Result<Self, Invalid> {
        parse_provider_id("payment_id", value).map(Self)
    }

    /// Takes a value that the database gave.
    pub fn stored(value: Vec<u8>) -> Self {
        Self(value.into())
    }

    /// Returns the bytes, as stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

/// Holds a product's name: 1 to 255 characters of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductName(String);

impl ProductName {
    /// Takes the field `name` of a request.
    pub fn parse(value: &str) -> Result<Self, Invalid> {
        parse_text("name", value, NAME_LENGTH_MAX).map(Self)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Holds what an operator writes into the books: 1 to 1,000 characters of any kind.
///
/// It says why stock was adjusted, or what was done about a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark(String);

impl Remark {
    /// Takes the field `field` of a request.
    pub fn parse(field: &'static str, value: &str) -> Result<Self, Invalid> {
        parse_text(field, value, REMARK_LENGTH_MAX).map(Self)
    }

    /// Takes a value that the database gave.
    pub fn stored(value: String) -> Self {
        Self(value)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_text(field: &'static str, value: &str, length_max: usize) -> Result<String, Invalid> {
    let length = value.chars().count();
    if length == 0 || length > length_max {
        return Err(Invalid::new(field, format!("must be 1 to {length_max} characters, got {length}")));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_starts_at_one() {
        assert_eq!(ProductId::parse(1).unwrap().get(), 1);
        assert_eq!(HoldId::parse(i64::MAX).unwrap().get(), i64::MAX);
        for value in [0, -1, i64::MIN] {
            assert_eq!(OrderId::parse(value).unwrap_err().field, "order_id");
        }
    }

    #[test]
    fn a_quantity_starts_at_one() {
        assert_eq!(Quantity::parse(1).unwrap().units(), 1);
        for value in [0, -5, i32::MIN] {
            assert_eq!(Quantity::parse(value).unwrap_err().field, "qty");
        }
    }

    #[test]
    fn a_callers_id_has_1_to_255_bytes_without_control_characters_and_outer_spaces() {
        let longest = "x".repeat(255);
        for good in ["a", "!~", "a-b_c:1", "ann@example.org", "a b", "é", "🛒", longest.as_str()] {
            assert_eq!(RequestId::parse(good).unwrap().as_bytes(), good.as_bytes());
            assert!(RequestId::parse(good).unwrap().is_callers(), "{good:?}");
        }
        let too_long = "é".repeat(128);
        for bad in ["", " ", " a", "a ", "a\n", "a\u{a0}", "\u{0}a", "a\u{7f}b", "a\u{85}b", too_long.as_str()] {
            assert_eq!(RequestId::parse(bad).unwrap_err().field, "request_id", "{bad:?}");
            assert_eq!(BuyerId::parse(bad).unwrap_err().field, "buyer_id", "{bad:?}");
        }
    }

    #[test]
    fn a_made_up_request_id_is_nobodys_and_its_own() {
        let made_up = RequestId::made_up(7, 8);
        assert!(!made_up.is_callers());
        assert_ne!(made_up, RequestId::made_up(7, 9));
        assert_ne!(made_up, RequestId::made_up(8, 8));
        assert!(made_up.as_bytes().len() <= CALLER_ID_LENGTH_MAX);
    }

    #[test]
    fn an_idempotency_key_has_1_to_255_bytes() {
        let longest = "k".repeat(255);
        for good in ["k", "k ", " ", "ключ", longest.as_str()] {
            assert_eq!(IdempotencyKey::parse(good).unwrap().as_bytes(), good.as_bytes());
        }
        let too_many_bytes = "é".repeat(128);
        for bad in ["", too_many_bytes.as_str()] {
            assert_eq!(IdempotencyKey::parse(bad).unwrap_err().field, "idempotency_key");
            assert_eq!(PaymentId::parse(bad).unwrap_err().field, "payment_id");
        }
    }

    #[test]
    fn a_name_is_counted_in_characters() {
        let longest = "é".repeat(255);
        assert_eq!(ProductName::parse(&longest).unwrap().as_str(), longest);
        assert_eq!(ProductName::parse("  ").unwrap().as_str(), "  ", "the contract has lengths only");
        for bad in ["".to_owned(), "x".repeat(256)] {
            assert_eq!(ProductName::parse(&bad).unwrap_err().field, "name");
        }
    }

    #[test]
    fn a_remark_has_1_to_1000_characters() {
        let longest = "é".repeat(1000);
        assert_eq!(Remark::parse("note", &longest).unwrap().as_str(), longest);
        assert_eq!(Remark::parse("note", " \n").unwrap().as_str(), " \n", "the contract has lengths only");
        for bad in ["".to_owned(), "é".repeat(1001)] {
            assert_eq!(Remark::parse("reason", &bad).unwrap_err().field, "reason");
        }
    }
}

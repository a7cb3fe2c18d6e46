//! How the domain's types are stored: ids and texts as they are, statuses by fixed words.
//!
//! The domain knows nothing of diesel. Each of its types that a column stores is named here once.

use std::{fmt, io::Write};

use diesel::{
    deserialize::{self, FromSql, Queryable},
    expression::AsExpression,
    internal::derives::as_expression::Bound,
    mysql::{Mysql, MysqlValue},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Binary, Integer, Nullable, Text},
};

use super::schema::sql_types::{
    HoldsStatusEnum, OrdersSettledByEnum, OrdersStatusEnum, PaymentExceptionsKindEnum, PaymentWebhooksOrderStatusEnum,
    PaymentWebhooksResultEnum, PaymentWebhooksStatusEnum,
};
use crate::domain::{
    BuyerId, HoldId, HoldStatus, IdempotencyKey, OperatorActionId, OrderId, OrderStatus, PaymentEventId,
    PaymentExceptionId, PaymentExceptionKind, PaymentId, PaymentResult, PaymentStatus, Principal, ProductId, Quantity,
    Remark, RequestId, SettledBy, StockDelta,
};

/// Reads a column of an SQL type into a type of the domain, by that type's `stored`.
macro_rules! stored {
    ($($type:ty: $sql_type:ty as $raw:ty;)+) => {$(
        impl FromSql<$sql_type, Mysql> for $type {
            fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
                <$raw as FromSql<$sql_type, Mysql>>::from_sql(value).map(Self::stored)
            }
        }

        impl Queryable<$sql_type, Mysql> for $type {
            type Row = Self;

            fn build(row: Self) -> deserialize::Result<Self> {
                Ok(row)
            }
        }
    )+};
}

stored! {
    ProductId: BigInt as i64;
    HoldId: BigInt as i64;
    OrderId: BigInt as i64;
    PaymentExceptionId: BigInt as i64;
    PaymentEventId: BigInt as i64;
    OperatorActionId: BigInt as i64;
    StockDelta: BigInt as i64;
    Quantity: Integer as i32;
    BuyerId: Binary as Vec<u8>;
    RequestId: Binary as Vec<u8>;
    IdempotencyKey: Binary as Vec<u8>;
    PaymentId: Binary as Vec<u8>;
    Principal: Text as String;
    Remark: Text as String;
}

/// Stores an enum of the domain as words, in columns of these SQL types. Every variant has to have a word.
macro_rules! stored_words {
    ($type:ty as $($sql_type:ty),+ { $($variant:ident: $word:literal,)+ }) => {
        impl StoredWord for $type {
            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            fn of_word(word: &[u8]) -> Option<Self> {
                $(
                    if word == $word.as_bytes() {
                        return Some(Self::$variant);
                    }
                )+
                None
            }
        }

        $(
            impl FromSql<$sql_type, Mysql> for $type {
                fn from_sql(value: MysqlValue<'_>) -> deserialize::Result<Self> {
                    let unknown = || UnknownWord { column: stringify!($sql_type), word: value.as_bytes().to_vec() };
                    Ok(Self::of_word(value.as_bytes()).ok_or_else(unknown)?)
                }
            }

            impl Queryable<$sql_type, Mysql> for $type {
                type Row = Self;

                fn build(row: Self) -> deserialize::Result<Self> {
                    Ok(row)
                }
            }

            impl ToSql<$sql_type, Mysql> for $type {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
                    out.write_all(self.word().as_bytes())?;
                    Ok(IsNull::No)
                }
            }

            impl ToSql<Nullable<$sql_type>, Mysql> for $type {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Mysql>) -> serialize::Result {
                    ToSql::<$sql_type, Mysql>::to_sql(self, out)
                }
            }

            impl AsExpression<$sql_type> for $type {
                type Expression = Bound<$sql_type, Self>;

                fn as_expression(self) -> Self::Expression {
                    Bound::new(self)
                }
            }

            impl AsExpression<Nullable<$sql_type>> for $type {
                type Expression = Bound<Nullable<$sql_type>, Self>;

                fn as_expression(self) -> Self::Expression {
                    Bound::new(self)
                }
            }
        )+
    };
}

trait StoredWord: Sized {
    fn word(self) -> &'static str;
    fn of_word(word: &[u8]) -> Option<Self>;
}

stored_words! {
    HoldStatus as HoldsStatusEnum {
        Active: "active",
        Used: "used",
        Expired: "expired",
        Cancelled: "cancelled",
    }
}

stored_words! {
    OrderStatus as OrdersStatusEnum, PaymentWebhooksOrderStatusEnum {
        Pending: "pending",
        Paid: "paid",
        Cancelled: "cancelled",
    }
}

stored_words! {
    PaymentStatus as PaymentWebhooksStatusEnum {
        Success: "success",
        Failure: "failure",
        AttemptFailed: "attempt_failed",
    }
}

stored_words! {
    PaymentResult as PaymentWebhooksResultEnum {
        Applied: "applied",
        Unchanged: "unchanged",
        LateSuccess: "late_success",
        DuplicateSuccess: "duplicate_success",
        AmountMismatch: "amount_mismatch",
        AttemptFailed: "attempt_failed",
    }
}

stored_words! {
    SettledBy as OrdersSettledByEnum {
        Payment: "payment",
        Acceptance: "acceptance",
        NoCharge: "no_charge",
        Failure: "failure",
        Caller: "caller",
        Overdue: "overdue",
    }
}

stored_words! {
    PaymentExceptionKind as PaymentExceptionsKindEnum {
        LateSuccess: "late_success",
        DuplicateSuccess: "duplicate_success",
        AmountMismatch: "amount_mismatch",
    }
}

/// Says that a column has a word that this program doesn't know, because a newer program wrote it.
#[derive(Debug)]
pub(super) struct UnknownWord {
    column: &'static str,
    word: Vec<u8>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a column of the type {} has the unknown word '{}'", self.column, self.word.escape_ascii())
    }
}

impl std::error::Error for UnknownWord {}

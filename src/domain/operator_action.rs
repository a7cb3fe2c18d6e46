//! An operator's action: who changed what, from what to what.

use std::time::SystemTime;

use super::ids::{OperatorActionId, ProductId, RequestId};

/// Names the caller of an operator's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(String);

impl Principal {
    /// Names a caller that the server doesn't know.
    pub fn unknown() -> Self {
        Self("unknown".to_owned())
    }

    /// Names a caller that the server knows.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Takes a value that the database gave.
    pub fn stored(value: String) -> Self {
        Self(value)
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Holds a field before and after an action, as texts: numbers as digits, times as RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field, as the contract calls it.
    pub field: String,
    /// The value before. `None` means that there was none.
    pub before: Option<String>,
    /// The value after. `None` means that there is none.
    pub after: Option<String>,
}

impl FieldChange {
    /// Describes a change of `field`, or returns `None` where both values are the same.
    pub fn of(field: &'static str, before: Option<String>, after: Option<String>) -> Option<Self> {
        (before != after).then(|| Self { field: field.to_owned(), before, after })
    }
}

/// Describes what an operator changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorAction {
    /// The action's id.
    pub id: OperatorActionId,
    /// When it was done.
    pub created_at: SystemTime,
    /// Who did it.
    pub principal: Principal,
    /// The call, such as `flashsale.v1.AdminService/UpdateProduct`.
    pub method: String,
    /// The request_id that the caller sent.
    pub request_id: Option<RequestId>,
    /// The product that the change belongs to.
    pub product_id: Option<ProductId>,
    /// The fields that changed.
    pub changes: Vec<FieldChange>,
}

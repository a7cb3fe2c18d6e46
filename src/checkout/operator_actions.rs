//! What every operator's call that changes something leaves behind: a row in the same transaction, and a log line.

use std::time::SystemTime;

use tracing::info;

use crate::{
    db::{
        Failure, Script,
        operator_actions::{self, ActionProduct, NewAction},
    },
    domain::{FieldChange, Principal, ProductId, RequestId},
    error::Error,
};

/// Names an operator's call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Puts a product on sale.
    CreateProduct,
    /// Changes a product.
    UpdateProduct,
    /// Changes a product's stock.
    AdjustStock,
    /// Settles what was wrong with a payment.
    ResolvePaymentException,
    /// Accepts a payment of another amount.
    AcceptPayment,
}

impl Method {
    const ALL: [Self; 5] = [
        Self::CreateProduct,
        Self::UpdateProduct,
        Self::AdjustStock,
        Self::ResolvePaymentException,
        Self::AcceptPayment,
    ];

    /// Returns the method of a path, such as `/flashsale.v1.AdminService/AdjustStock`.
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.strip_prefix('/')?;
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }

    /// Returns the name as the wire has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::CreateProduct => "flashsale.v1.AdminService/CreateProduct",
            Self::UpdateProduct => "flashsale.v1.AdminService/UpdateProduct",
            Self::AdjustStock => "flashsale.v1.AdminService/AdjustStock",
            Self::ResolvePaymentException => "flashsale.v1.AdminService/ResolvePaymentException",
            Self::AcceptPayment => "flashsale.v1.AdminService/AcceptPayment",
        }
    }
}

/// Describes one call, for its row and its log line.
#[derive(Debug, Clone, Copy)]
pub(super) struct OperatorCall<'a> {
    pub(super) principal: &'a Principal,
    pub(super) method: Method,
    /// The request_id, also where the server made it up.
    pub(super) request_id: Option<&'a RequestId>,
}

impl OperatorCall<'_> {
    /// Writes down what the call changes. `changes` has a `None` for each field that stays as it is; a call that changes
    /// nothing leaves no row.
    pub(super) fn write(
        self,
        script: &mut Script,
        product_id: ActionProduct,
        changes: impl IntoIterator<Item = Option<FieldChange>>,
    ) -> Result<(), Failure> {
        let changes: Vec<FieldChange> = changes.into_iter().flatten().collect();
        if changes.is_empty() {
            return Ok(());
        }
        let request_id = self.request_id.filter(|request_id| request_id.is_callers());
        let Self { principal, method, .. } = self;
        let action = NewAction { principal, method: method.as_str(), request_id, product_id, changes };
        operator_actions::insert(script, &action)
    }

    /// Logs the call and what became of it: `ok`, or the reason.
    pub(super) fn log<T>(self, product_id: Option<ProductId>, result: &Result<T, Error>) {
        let outcome = result.as_ref().map_or_else(|error| error.reason().to_ascii_lowercase(), |_| "ok".to_owned());
        let (principal, method) = (self.principal.as_str(), self.method.as_str());
        info!(principal, method, product_id = product_id.map(ProductId::get), outcome, "Admin call");
    }
}

/// Logs an operator's call that was refused before it became a command.
pub fn record_early(principal: &Principal, method: Method, reason: &str) {
    let (principal, method, outcome) = (principal.as_str(), method.as_str(), reason.to_ascii_lowercase());
    info!(principal, method, outcome, "Admin call");
}

/// Describes the change of a field that is shown as its text.
pub(super) fn changed<T: ToString>(field: &'static str, before: Option<T>, after: Option<T>) -> Option<FieldChange> {
    FieldChange::of(field, before.map(|value| value.to_string()), after.map(|value| value.to_string()))
}

/// Describes the change of a time, as RFC 3339 with microseconds.
pub(super) fn changed_time(
    field: &'static str,
    before: Option<SystemTime>,
    after: Option<SystemTime>,
) -> Option<FieldChange> {
    let text = |time: SystemTime| humantime::format_rfc3339_micros(time).to_string();
    FieldChange::of(field, before.map(text), after.map(text))
}

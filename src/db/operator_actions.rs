//! Table `operator_actions`: who changed what.

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper,
    dsl::sql,
    expression::SqlLiteral,
    mysql::Mysql,
    sql_types::{BigInt, Nullable},
};
use serde::{Deserialize, Serialize};

use super::{
    Connection, Failure, FailureKind, Script,
    read::{read, statement_time},
    render::Index,
    schema::operator_actions,
    script::last_inserted_id,
    statement::system_time,
};
use crate::domain::{FieldChange, OperatorAction, OperatorActionId, Principal, ProductId, RequestId};

const PRIMARY: Index = Index { table: "operator_actions", name: "PRIMARY" };
const BY_PRODUCT: Index = Index { table: "operator_actions", name: "operator_actions_product" };

/// Describes an action to be written down.
#[derive(Debug, Clone)]
pub struct NewAction<'a> {
    /// Who does it.
    pub principal: &'a Principal,
    /// The call.
    pub method: &'static str,
    /// The request_id that the caller sent.
    pub request_id: Option<&'a RequestId>,
    /// The product that the change belongs to.
    pub product_id: ActionProduct,
    /// The fields that change.
    pub changes: Vec<FieldChange>,
}

/// Says which product an action belongs to.
#[derive(Debug, Clone, Copy)]
pub enum ActionProduct {
    /// This product.
    Known(ProductId),
    /// The product that the script has just inserted.
    JustInserted,
}

/// A change as the column `changes` has it.
#[derive(Debug, Serialize, Deserialize)]
struct StoredChange {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = operator_actions, check_for_backend(Mysql))]
struct ActionRow {
    id: OperatorActionId,
    created_at: NaiveDateTime,
    principal: Principal,
    method: String,
    request_id: Option<RequestId>,
    product_id: Option<ProductId>,
    changes: String,
}

impl TryFrom<ActionRow> for OperatorAction {
    type Error = Failure;

    fn try_from(row: ActionRow) -> Result<Self, Failure> {
        let changes: Vec<StoredChange> = serde_json::from_str(&row.changes).map_err(|error| Failure {
            kind: FailureKind::Wrong,
            text: format!("the changes of operator action {} are no list of changes: {error}", row.id),
        })?;
        let change = |StoredChange { field, before, after }| FieldChange { field, before, after };
        Ok(Self {
            id: row.id,
            created_at: system_time(row.created_at),
            principal: row.principal,
            method: row.method,
            request_id: row.request_id,
            product_id: row.product_id,
            changes: changes.into_iter().map(change).collect(),
        })
    }
}

/// Writes down an action.
///
/// # Errors
/// `Wrong` where the changes can't be JSON, which is a bug.
pub fn insert(script: &mut Script, action: &NewAction<'_>) -> Result<(), Failure> {
    let change = |FieldChange { field, before, after }: &FieldChange| StoredChange {
        field: field.clone(),
        before: before.clone(),
        after: after.clone(),
    };
    let changes: Vec<StoredChange> = action.changes.iter().map(change).collect();
    let changes = serde_json::to_string(&changes)
        .map_err(|error| Failure { kind: FailureKind::Wrong, text: error.to_string() })?;
    let row = |product_id: SqlLiteral<Nullable<BigInt>>| {
        (
            operator_actions::created_at.eq(statement_time()),
            operator_actions::principal.eq(action.principal.as_str()),
            operator_actions::method.eq(action.method),
            operator_actions::request_id.eq(action.request_id.map(RequestId::as_bytes)),
            operator_actions::product_id.eq(product_id),
            operator_actions::changes.eq(changes),
        )
    };
    let insert = diesel::insert_into(operator_actions::table);
    match action.product_id {
        ActionProduct::Known(id) => script.insert(insert.values(row(sql(&id.to_string())))),
        ActionProduct::JustInserted => script.insert_beside(insert.values(row(last_inserted_id()))),
    }
    Ok(())
}

/// Reads up to `limit` actions that are older than `before`, newest first.
pub async fn list(
    conn: &mut Connection,
    product_id: Option<ProductId>,
    before: Option<OperatorActionId>,
    limit: usize,
) -> Result<Vec<OperatorAction>, Failure> {
    let query = operator_actions::table
        .filter(operator_actions::id.lt(before.map_or(i64::MAX, OperatorActionId::get)))
        .order(operator_actions::id.desc())
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(ActionRow::as_select());
    let read = match product_id {
        None => read(query).force_index(PRIMARY),
        Some(id) => read(query.filter(operator_actions::product_id.eq(id.get()))).force_index(BY_PRODUCT),
    };
    let rows: Vec<ActionRow> = read.rows(conn).await?;
    rows.into_iter().map(OperatorAction::try_from).collect()
}

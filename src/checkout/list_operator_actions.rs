//! ListOperatorActions: lists what operators changed, newest first.

use super::{
    Checkout,
    page::{Page, PagePosition, PageRequest},
};
use crate::{
    db::{Connection, Database, operator_actions},
    domain::{OperatorAction, OperatorActionId, ProductId},
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Bytes of an action or of a change beside its texts, at most.
const ENTRY_BYTES: usize = 160;

/// Asks what operators changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOperatorActions {
    /// Only actions on this product.
    pub product_id: Option<ProductId>,
    /// Which page.
    pub page: PageRequest,
}

/// Runs ListOperatorActions commands, one by one.
pub struct ListOperatorActionsBatch {
    database: Database,
}

impl ListOperatorActionsBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl RunOne for ListOperatorActionsBatch {
    type Command = ListOperatorActions;
    type Answer = Page<OperatorAction>;

    const NAME: &'static str = "list_operator_actions";

    async fn run_one(
        &self,
        command: &ListOperatorActions,
        _calls: Calls<'_, ListOperatorActions>,
    ) -> Result<Page<OperatorAction>, Error> {
        let ListOperatorActions { product_id, page: PageRequest { size, after } } = *command;
        let before = after.map(|position| OperatorActionId::stored(position.id));
        let actions = self
            .database
            .read("list_operator_actions", async |conn: &mut Connection, _attempt| {
                operator_actions::list(conn, product_id, before, size + 1).await
            })
            .await?;
        Ok(Page::of(actions, size, bytes, |action| PagePosition::of_id(action.id.get())))
    }
}

fn bytes(action: &OperatorAction) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let changes = action.changes.iter();
    let changes: usize =
        changes.map(|change| change.field.len() + length(&change.before) + length(&change.after) + ENTRY_BYTES).sum();
    let request_id = action.request_id.as_ref().map_or(0, |request_id| request_id.as_bytes().len());
    action.principal.as_str().len() + action.method.len() + request_id + changes + ENTRY_BYTES
}

impl Checkout {
    /// Lists what operators changed, newest first.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_operator_actions(&self, command: ListOperatorActions) -> Result<Page<OperatorAction>, Error> {
        self.list_operator_actions.submit(LaneKey::WholeUseCase, command).await
    }
}

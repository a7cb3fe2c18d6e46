//! Reads what the metrics show of the database.

use std::time::Duration;

use super::Checkout;
use crate::{
    db::{Connection, sale_figures},
    error::Error,
    metrics::Figures,
};

/// Limits how long the statement may take: enough for products with a hundred million holds.
///
/// Where the limit is reached, the database counts as away, and its idle connections are dropped.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10 * 60);

impl Checkout {
    /// Reads the figures, in one statement without a lock.
    ///
    /// # Errors
    /// Those of [`crate::db::Database::read`].
    pub async fn sale_figures(&self) -> Result<Figures, Error> {
        let read = async |conn: &mut Connection, _attempt| sale_figures::read(conn).await;
        self.database.read_within(STATEMENT_LIMIT, "sale_figures", read).await
    }
}

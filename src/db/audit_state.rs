//! Table `audit_state`: one row that says how the last audit ended.
//!
//! An audit is a short process, and nobody could read metrics of its own. So the servers show this row.

use diesel::{ExpressionMethods, NullableExpressionMethods, QueryDsl};

use super::{Script, read::statement_time, schema::audit_state};

/// Identifies the one row.
const ROW: i8 = 1;

/// Records the findings of an audit that has ended. Without a finding it was a success.
pub fn record(script: &mut Script, findings: u64) {
    let row = audit_state::table.find(ROW);
    let findings = i64::try_from(findings).unwrap_or(i64::MAX);
    if findings == 0 {
        let success = (audit_state::findings.eq(0), audit_state::last_success_at.eq(statement_time().nullable()));
        script.update(1, diesel::update(row).set(success));
    } else {
        script.update(1, diesel::update(row).set(audit_state::findings.eq(findings)));
    }
}

//! Holds against their products, their times, and their orders.

use super::{CLOCK_WENT_BACK, Check, MIND_THE_CLOCK, Rows, Table};

pub(super) const HOLDS: Table = Table {
    name: "holds",
    rows: Rows::Page,
    id: "holds.id",
    from: "(SELECT * FROM holds FORCE INDEX (PRIMARY) WHERE {rows}) AS holds \
        LEFT JOIN products FORCE INDEX (PRIMARY) ON products.id = holds.product_id",
    ids: "holds.product_id AS product_id, NULL AS related_product_id, holds.id AS hold_id, NULL AS order_id, \
        NULL AS webhook_id, NULL AS exception_id, NULL AS adjustment_id",
    checks: &[
        Check {
            kind: "hold_without_product",
            fault: "products.id IS NULL",
            expected: "'product ', holds.product_id",
            found: "'none'",
            what_to_do: "restore the product from a backup: a purge deletes a product only after its rows",
        },
        Check {
            kind: "hold_values",
            fault: "holds.qty < 1 OR holds.unit_price_cents < 0 \
                OR holds.status NOT IN ('active', 'used', 'expired', 'cancelled')",
            expected: "'qty at least 1, unit_price_cents at least 0, a known status'",
            found: "'qty ', holds.qty, ', unit_price_cents ', holds.unit_price_cents, ', status ', QUOTE(holds.status)",
            what_to_do: "the row was changed past the service: correct it by the log or a backup",
        },
        Check {
            kind: "hold_times",
            fault: "holds.created_at > holds.expires_at",
            expected: "'expires_at at or after created_at ', holds.created_at",
            found: "'expires_at ', holds.expires_at",
            what_to_do: "the row was changed past the service: correct it by the log or a backup",
        },
        // SYSDATE is a time after the snapshot was taken, so every sweep that the snapshot shows was over by then.
        // UTC_TIMESTAMP is the time when the statement began, and a sweep may commit between that and the snapshot.
        Check {
            kind: "hold_expired_early",
            fault: "holds.status = 'expired' AND holds.expires_at > SYSDATE(6) \
                AND holds.expires_at > (SELECT latest_at FROM sweeper_state WHERE id = 1)",
            expected: "'status active until ', holds.expires_at",
            found: "'status expired'",
            what_to_do: "the buyer lost the hold before its time: look for a server or sweeper with another clock or \
                version",
        },
        // The sweep that expired the hold recorded latest_at in the same commit: the clock had reached expires_at.
        Check {
            kind: CLOCK_WENT_BACK,
            fault: "holds.status = 'expired' AND holds.expires_at > SYSDATE(6) \
                AND holds.expires_at <= (SELECT latest_at FROM sweeper_state WHERE id = 1)",
            expected: "'status expired after ', holds.expires_at",
            found: "'now ', SYSDATE(6)",
            what_to_do: MIND_THE_CLOCK,
        },
        Check {
            kind: "hold_used_without_order",
            fault: "holds.status = 'used' \
                AND NOT EXISTS (SELECT 1 FROM orders FORCE INDEX (orders_hold) WHERE hold_id = holds.id)",
            expected: "'an order'",
            found: "'none'",
            what_to_do: "restore the order from a backup, or cancel the hold and run the audit with --repair",
        },
        Check {
            kind: "hold_request_id_repeated",
            fault: "EXISTS (SELECT 1 FROM holds AS other FORCE INDEX (holds_request) \
                WHERE other.product_id = holds.product_id AND other.request_id = holds.request_id \
                AND other.id < holds.id)",
            expected: "'one hold of a product for each request_id'",
            found: "'another with the same'",
            what_to_do: "restore the unique key holds_request; release the later hold, or refund its order",
        },
    ],
};

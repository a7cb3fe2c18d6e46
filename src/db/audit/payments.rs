//! Payment events against their orders, and payment exceptions against the events they are for.

use super::{CLOCK_WENT_BACK, Check, MIND_THE_CLOCK, Rows, Table};

pub(super) const WEBHOOKS: Table = Table {
    name: "payment_webhooks",
    rows: Rows::Page,
    id: "webhooks.id",
    from: "(SELECT * FROM payment_webhooks FORCE INDEX (PRIMARY) WHERE {rows}) AS webhooks \
        LEFT JOIN orders FORCE INDEX (PRIMARY) ON orders.id = webhooks.order_id",
    ids: "webhooks.product_id AS product_id, orders.product_id AS related_product_id, NULL AS hold_id, \
        webhooks.order_id AS order_id, webhooks.id AS webhook_id, NULL AS exception_id, NULL AS adjustment_id",
    checks: &[
        Check {
            kind: "webhook_without_order",
            fault: "orders.id IS NULL",
            expected: "'order ', webhooks.order_id",
            found: "'none'",
            what_to_do: "restore the order from a backup: a purge deletes an order only with its events",
        },
        Check {
            kind: "webhook_product_differs",
            fault: "webhooks.product_id <> orders.product_id",
            expected: "'product ', orders.product_id, ' as the order'",
            found: "'product ', webhooks.product_id",
            what_to_do: "set the event's product_id to the order's, unless the order is the one that was changed",
        },
        // This is the matrix of payment events once more. It shares no code with the function that answers webhooks.
        Check {
            kind: "webhook_answer_impossible",
            fault: "CONCAT_WS(' ', webhooks.status, webhooks.result, webhooks.order_status) NOT IN (\
                'success applied paid', 'success unchanged paid', 'failure applied cancelled', \
                'failure unchanged paid', 'failure unchanged cancelled', 'attempt_failed attempt_failed pending', \
                'attempt_failed attempt_failed paid', 'attempt_failed attempt_failed cancelled', 'success late_success cancelled', 'success duplicate_success paid', \
                'success amount_mismatch pending')",
            expected: "'an answer that a ', webhooks.status, ' can have'",
            found: "webhooks.result, ', order ', webhooks.order_status",
            what_to_do: "the row was changed past the service: correct it by the log line \"Payment webhook handled\"",
        },
        Check {
            kind: "webhook_answer_differs",
            fault: "webhooks.order_status <> 'pending' AND webhooks.order_status <> orders.status",
            expected: "'order ', webhooks.order_status, ' as was answered (', webhooks.status, ', ', webhooks.result, ')'",
            found: "'order ', orders.status",
            what_to_do: "the order's or the event's row was changed: ask the payment provider which is right",
        },
        Check {
            kind: "webhook_amount",
            fault: "webhooks.amount_cents < 0 \
                OR webhooks.result = 'applied' AND webhooks.status = 'success' \
                    AND webhooks.amount_cents <> orders.amount_cents \
                OR webhooks.result = 'amount_mismatch' AND COALESCE(webhooks.amount_cents = orders.amount_cents, \
                    webhooks.amount_cents IS NULL)",
            expected: "IF(webhooks.result = 'amount_mismatch', 'another amount than ', 'amount_cents '), \
                COALESCE(orders.amount_cents, 'unknown'), ' of the order'",
            found: "'amount_cents ', COALESCE(webhooks.amount_cents, 'none'), ' with ', webhooks.result",
            what_to_do: "ask the payment provider what was paid, and refund the difference",
        },
        Check {
            kind: "webhook_key_repeated",
            fault: "EXISTS (SELECT 1 FROM payment_webhooks AS other FORCE INDEX (payment_webhooks_key) \
                WHERE other.idempotency_key = webhooks.idempotency_key AND other.id < webhooks.id)",
            expected: "'one event for each idempotency_key'",
            found: "'another with the same'",
            what_to_do: "restore the unique key payment_webhooks_key; drop the later row if it changed nothing",
        },
        Check {
            kind: "exception_missing",
            fault: "webhooks.result IN ('late_success', 'duplicate_success', 'amount_mismatch') \
                AND NOT EXISTS (SELECT 1 FROM payment_exceptions FORCE INDEX (payment_exceptions_key) \
                    WHERE payment_exceptions.idempotency_key = webhooks.idempotency_key)",
            expected: "'a payment exception ', webhooks.result, ', amount_cents ', \
                COALESCE(webhooks.amount_cents, 'none')",
            found: "'none'",
            what_to_do: "refund the payment if that was not done, and put the row back from this event",
        },
    ],
};

pub(super) const EXCEPTIONS: Table = Table {
    name: "payment_exceptions",
    rows: Rows::Page,
    id: "exceptions.id",
    from: "(SELECT * FROM payment_exceptions FORCE INDEX (PRIMARY) WHERE {rows}) AS exceptions \
        LEFT JOIN payment_webhooks AS webhooks FORCE INDEX (payment_webhooks_key) \
            ON webhooks.idempotency_key = exceptions.idempotency_key \
        LEFT JOIN orders FORCE INDEX (PRIMARY) ON orders.id = exceptions.order_id",
    ids: "exceptions.product_id AS product_id, orders.product_id AS related_product_id, NULL AS hold_id, \
        exceptions.order_id AS order_id, webhooks.id AS webhook_id, exceptions.id AS exception_id, \
        NULL AS adjustment_id",
    checks: &[
        Check {
            kind: "exception_without_webhook",
            fault: "webhooks.id IS NULL",
            expected: "'a payment event with its idempotency_key'",
            found: "'none'",
            what_to_do: "ask the payment provider about the key before anything is refunded",
        },
        Check {
            kind: "exception_without_order",
            fault: "orders.id IS NULL",
            expected: "'order ', exceptions.order_id",
            found: "'none'",
            what_to_do: "restore the order from a backup: a purge deletes an order only with its events",
        },
        Check {
            kind: "exception_differs",
            fault: "exceptions.kind <> webhooks.result OR exceptions.order_id <> webhooks.order_id \
                OR exceptions.product_id <> webhooks.product_id \
                OR NOT exceptions.amount_cents <=> webhooks.amount_cents",
            expected: "webhooks.result, ' of order ', webhooks.order_id, ', product ', webhooks.product_id, \
                ', amount_cents ', COALESCE(webhooks.amount_cents, 'none')",
            found: "exceptions.kind, ' of order ', exceptions.order_id, ', product ', exceptions.product_id, \
                ', amount_cents ', COALESCE(exceptions.amount_cents, 'none')",
            what_to_do: "the exception's or the event's row was changed: ask the payment provider, then correct it",
        },
        Check {
            kind: "exception_resolution",
            fault: "(exceptions.resolved_at IS NULL) <> (exceptions.note IS NULL)",
            expected: "'both resolved_at and note or neither'",
            found: "'resolved_at ', COALESCE(exceptions.resolved_at, 'none'), ', ', \
                IF(exceptions.note IS NULL, 'no note', 'a note')",
            what_to_do: "make sure that the payment was refunded, and only once; then correct the row",
        },
        // One transaction made the exception, and another one resolved it.
        Check {
            kind: CLOCK_WENT_BACK,
            fault: "exceptions.resolved_at < exceptions.created_at",
            expected: "'resolved_at at or after created_at ', exceptions.created_at",
            found: "'resolved_at ', exceptions.resolved_at",
            what_to_do: MIND_THE_CLOCK,
        },
        Check {
            kind: "exception_key_repeated",
            fault: "EXISTS (SELECT 1 FROM payment_exceptions AS other FORCE INDEX (payment_exceptions_key) \
                WHERE other.idempotency_key = exceptions.idempotency_key AND other.id < exceptions.id)",
            expected: "'one exception for each idempotency_key'",
            found: "'another with the same'",
            what_to_do: "restore the unique key payment_exceptions_key; make sure that nothing is refunded twice",
        },
    ],
};

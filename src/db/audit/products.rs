//! Products, their stock, and its adjustments by operators.

use super::{Check, Rows, Table};

/// Describes the products. One statement looks at one product.
///
/// So all sums of a product are of one snapshot, and the snapshot lasts only as long as one product takes. Each sum
/// reads the product's own rows alone, by an index that begins with the product. LIMIT, which is no less than a page,
/// keeps the optimizer from working out a sum again for each place that names it.
pub(super) const PRODUCTS: Table = Table {
    name: "products",
    rows: Rows::One,
    id: "products.id",
    from: "(SELECT products.*, \
        (SELECT COALESCE(SUM(qty), 0) FROM holds FORCE INDEX (holds_product_expiry) \
            WHERE product_id = products.id AND status = 'active') AS held, \
        (SELECT COALESCE(SUM(qty), 0) FROM orders FORCE INDEX (orders_product_due) \
            WHERE product_id = products.id AND status = 'pending') AS pending, \
        (SELECT COALESCE(SUM(qty), 0) FROM orders FORCE INDEX (orders_product_due) \
            WHERE product_id = products.id AND status = 'paid') AS paid, \
        (SELECT SUM(delta) FROM stock_adjustments FORCE INDEX (stock_adjustments_request) \
            WHERE product_id = products.id) AS adjusted, \
        (SELECT CAST(total_stock AS DECIMAL(30)) - delta FROM stock_adjustments FORCE INDEX (stock_adjustments_request) \
            WHERE product_id = products.id ORDER BY id LIMIT 1) AS original_total, \
        (SELECT total_stock FROM stock_adjustments FORCE INDEX (stock_adjustments_request) \
            WHERE product_id = products.id ORDER BY id DESC LIMIT 1) AS adjusted_total \
        FROM products FORCE INDEX (PRIMARY) WHERE {rows} LIMIT 100000) AS products",
    ids: "products.id AS product_id, NULL AS related_product_id, NULL AS hold_id, NULL AS order_id, \
        NULL AS webhook_id, NULL AS exception_id, NULL AS adjustment_id",
    checks: &[
        Check {
            kind: super::STOCK_NOT_CONSERVED,
            fault: "products.total_stock - held - pending - paid >= 0 \
                AND products.total_stock - held - pending - paid <> products.available_stock",
            expected: "'available_stock ', products.total_stock - held - pending - paid, ': total_stock ', \
                products.total_stock, ' less held ', held, ', pending ', pending, ', paid ', paid",
            found: "'available_stock ', products.available_stock",
            what_to_do: "find out who changed stock past the service; then run the audit with --repair",
        },
        Check {
            kind: "stock_oversold",
            fault: "products.total_stock - held - pending - paid < 0",
            expected: "'at most ', products.total_stock, ' units held and ordered'",
            found: "'held ', held, ', pending ', pending, ', paid ', paid",
            what_to_do: "pause the product; raise its stock by AdjustStock if the units exist, else refund orders",
        },
        Check {
            kind: "stock_out_of_bounds",
            fault: "products.available_stock NOT BETWEEN 0 AND products.total_stock",
            expected: "'available_stock from 0 to ', products.total_stock",
            found: "'available_stock ', products.available_stock",
            what_to_do: "restore the CHECK products_available_stock, which forbids it, and correct the stock",
        },
        Check {
            kind: "stock_adjustments_differ",
            fault: "adjusted_total <> products.total_stock OR original_total + adjusted <> products.total_stock",
            expected: "'total_stock ', adjusted_total, ' by the last adjustment, ', original_total + adjusted, \
                ' by all of them'",
            found: "'total_stock ', products.total_stock",
            what_to_do: "total_stock changed past AdjustStock, or an adjustment is gone: count the units, then correct \
                the one that is wrong",
        },
        Check {
            kind: "product_values",
            fault: "products.price_cents < 0 OR products.total_stock < 0 OR products.max_per_buyer < 1 \
                OR products.ends_at <= products.starts_at",
            expected: "'price_cents and total_stock at least 0, max_per_buyer at least 1, ends_at after starts_at'",
            found: "'price_cents ', products.price_cents, ', total_stock ', products.total_stock, ', max_per_buyer ', \
                COALESCE(products.max_per_buyer, 'none'), ', sale from ', COALESCE(products.starts_at, 'ever'), ' to ', \
                COALESCE(products.ends_at, 'ever')",
            what_to_do: "pause the product, and correct it by UpdateProduct",
        },
        Check {
            kind: "product_request_id_repeated",
            fault: "EXISTS (SELECT 1 FROM products AS other FORCE INDEX (products_request) \
                WHERE other.request_id = products.request_id AND other.id < products.id)",
            expected: "'one product for each request_id'",
            found: "'another with the same'",
            what_to_do: "restore the unique key products_request; pause the product that was made twice",
        },
    ],
};

pub(super) const ADJUSTMENTS: Table = Table {
    name: "stock_adjustments",
    rows: Rows::Page,
    id: "adjustments.id",
    from: "(SELECT * FROM stock_adjustments FORCE INDEX (PRIMARY) WHERE {rows}) AS adjustments \
        LEFT JOIN products FORCE INDEX (PRIMARY) ON products.id = adjustments.product_id",
    ids: "adjustments.product_id AS product_id, NULL AS related_product_id, NULL AS hold_id, NULL AS order_id, \
        NULL AS webhook_id, NULL AS exception_id, adjustments.id AS adjustment_id",
    checks: &[
        Check {
            kind: "adjustment_without_product",
            fault: "products.id IS NULL",
            expected: "'product ', adjustments.product_id",
            found: "'none'",
            what_to_do: "restore the product from a backup: a purge deletes a product only after its rows",
        },
        Check {
            kind: "adjustment_values",
            fault: "adjustments.delta = 0 OR adjustments.available_stock NOT BETWEEN 0 AND adjustments.total_stock \
                OR CAST(adjustments.total_stock AS DECIMAL(30)) - adjustments.delta < 0",
            expected: "'a delta, available_stock from 0 to total_stock, and a total_stock of at least 0 before it'",
            found: "'delta ', adjustments.delta, ', total_stock ', adjustments.total_stock, ', available_stock ', \
                adjustments.available_stock",
            what_to_do: "the row was changed after AdjustStock wrote it: correct it by the log or a backup",
        },
        Check {
            kind: "adjustment_request_id_repeated",
            fault: "EXISTS (SELECT 1 FROM stock_adjustments AS other FORCE INDEX (stock_adjustments_request) \
                WHERE other.product_id = adjustments.product_id AND other.request_id = adjustments.request_id \
                AND other.id < adjustments.id)",
            expected: "'one adjustment of a product for each request_id'",
            found: "'another with the same'",
            what_to_do: "restore the unique key stock_adjustments_request; the stock was adjusted twice: adjust it back",
        },
    ],
};

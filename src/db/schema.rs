// @generated automatically by Diesel CLI.

pub mod sql_types {
    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(mysql_type(name = "Enum"))]
    pub struct HoldsStatusEnum;

    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(mysql_type(name = "Enum"))]
    pub struct OrdersSettledByEnum;

    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(mysql_type(name = "Enum"))]
    pub struct OrdersStatusEnum;

    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(mysql_type(name = "Enum"))]
    pub struct PaymentExceptionsKindEnum;

    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(mysql_type(name = "Enum"))]
    pub struct PaymentWebhooksOrderStatusEnum;

    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(mysql_type(name = "Enum"))]
    pub struct PaymentWebhooksResultEnum;

    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(mysql_type(name = "Enum"))]
    pub struct PaymentWebhooksStatusEnum;
}

diesel::table! {
    audit_state (id) {
        id -> Tinyint,
        last_success_at -> Nullable<Datetime>,
        findings -> Bigint,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::HoldsStatusEnum;

    holds (id) {
        id -> Bigint,
        product_id -> Bigint,
        qty -> Integer,
        unit_price_cents -> Bigint,
        #[max_length = 9]
        status -> HoldsStatusEnum,
        expires_at -> Datetime,
        created_at -> Datetime,
        #[max_length = 255]
        request_id -> Varbinary,
        #[max_length = 255]
        buyer_id -> Nullable<Varbinary>,
    }
}

diesel::table! {
    operator_actions (id) {
        id -> Bigint,
        created_at -> Datetime,
        #[max_length = 255]
        principal -> Varchar,
        #[max_length = 100]
        method -> Varchar,
        #[max_length = 255]
        request_id -> Nullable<Varbinary>,
        product_id -> Nullable<Bigint>,
        #[max_length = 65535]
        changes -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::OrdersStatusEnum;
    use super::sql_types::OrdersSettledByEnum;

    orders (id) {
        id -> Bigint,
        hold_id -> Bigint,
        product_id -> Bigint,
        qty -> Integer,
        amount_cents -> Bigint,
        #[max_length = 9]
        status -> OrdersStatusEnum,
        payment_due_at -> Nullable<Datetime>,
        created_at -> Datetime,
        #[max_length = 255]
        request_id -> Varbinary,
        #[max_length = 255]
        buyer_id -> Nullable<Varbinary>,
        settled_at -> Nullable<Datetime>,
        #[max_length = 10]
        settled_by -> Nullable<OrdersSettledByEnum>,
        #[max_length = 255]
        payment_id -> Nullable<Varbinary>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::PaymentExceptionsKindEnum;

    payment_exceptions (id) {
        id -> Bigint,
        #[max_length = 17]
        kind -> PaymentExceptionsKindEnum,
        order_id -> Bigint,
        product_id -> Bigint,
        #[max_length = 255]
        idempotency_key -> Varbinary,
        amount_cents -> Nullable<Bigint>,
        created_at -> Datetime,
        resolved_at -> Nullable<Datetime>,
        #[max_length = 1000]
        note -> Nullable<Varchar>,
        accepted -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::PaymentWebhooksStatusEnum;
    use super::sql_types::PaymentWebhooksOrderStatusEnum;
    use super::sql_types::PaymentWebhooksResultEnum;

    payment_webhooks (id) {
        id -> Bigint,
        #[max_length = 255]
        idempotency_key -> Varbinary,
        order_id -> Bigint,
        product_id -> Bigint,
        #[max_length = 14]
        status -> PaymentWebhooksStatusEnum,
        amount_cents -> Nullable<Bigint>,
        #[max_length = 9]
        order_status -> PaymentWebhooksOrderStatusEnum,
        #[max_length = 17]
        result -> PaymentWebhooksResultEnum,
        created_at -> Datetime,
        #[max_length = 255]
        payment_id -> Nullable<Varbinary>,
    }
}

diesel::table! {
    products (id) {
        id -> Bigint,
        #[max_length = 255]
        name -> Varchar,
        price_cents -> Bigint,
        total_stock -> Bigint,
        available_stock -> Bigint,
        max_per_buyer -> Nullable<Integer>,
        starts_at -> Nullable<Datetime>,
        ends_at -> Nullable<Datetime>,
        paused -> Bool,
        #[max_length = 255]
        request_id -> Varbinary,
        #[max_length = 32]
        request_digest -> Binary,
        created_at -> Datetime,
    }
}

diesel::table! {
    server_heartbeats (slot) {
        slot -> Unsigned<Tinyint>,
        beats -> Unsigned<Bigint>,
        last_beat_at -> Datetime,
    }
}

diesel::table! {
    stock_adjustments (id) {
        id -> Bigint,
        product_id -> Bigint,
        delta -> Bigint,
        #[max_length = 1000]
        reason -> Varchar,
        #[max_length = 255]
        request_id -> Varbinary,
        total_stock -> Bigint,
        available_stock -> Bigint,
        created_at -> Datetime,
    }
}

diesel::table! {
    sweeper_state (id) {
        id -> Tinyint,
        runs -> Bigint,
        holds_expired -> Bigint,
        orders_cancelled -> Bigint,
        stock_released -> Bigint,
        last_run_at -> Nullable<Datetime>,
        progress_at -> Datetime,
        latest_at -> Datetime,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    audit_state,
    holds,
    operator_actions,
    orders,
    payment_exceptions,
    payment_webhooks,
    products,
    server_heartbeats,
    stock_adjustments,
    sweeper_state,
);

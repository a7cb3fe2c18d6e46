//! Covers the service's sessions in its database: where they lead, and what they rely on.

mod few_connections;
mod frozen;
mod host;
mod odd_settings;

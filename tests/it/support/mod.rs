//! What the tests stand on.

pub(crate) mod admin;
pub(crate) mod at_once;
pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod conservation;
pub(crate) mod counted;
pub(crate) mod database;
pub(crate) mod mysqld;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod sale;
pub(crate) mod server;
pub(crate) mod signal;
pub(crate) mod wait;
pub(crate) mod wire;

//! The code generated from the service definition, which has its own crate: [`flashsale_proto`].

pub use flashsale_proto::*;

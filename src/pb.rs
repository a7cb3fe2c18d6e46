//! The types, clients and servers generated from `proto/flashsale/v1/flash_sale.proto`.

pub use generated::*;

/// The service definition as a descriptor set, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("flash_sale_descriptor");

#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated code")]
mod generated {
    tonic::include_proto!("flashsale.v1");
}

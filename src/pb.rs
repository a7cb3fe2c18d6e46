//! The types, clients and servers generated from `proto/flashsale/v1/flash_sale.proto`.

tonic::include_proto!("flashsale.v1");

/// The service definition as a descriptor set, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("flash_sale_descriptor");

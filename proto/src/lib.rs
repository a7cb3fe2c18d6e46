//! The code generated from `proto/flashsale/v1/flash_sale.proto`: types, clients, servers, and lists of its calls.
//!
//! | feature | what it adds |
//! |---|---|
//! | `client` | the stubs of a caller; most callers want the crate `flashsale-client`, which repeats calls where that is right |
//! | `server` | the stubs of the service itself |
//!
//! The definition says each bound and each error in its comments, which are also the comments of the types here.

pub use generated::*;

/// Holds the service definition as a descriptor set, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("flash_sale_descriptor");
/// Lists the full names of the services, like `flashsale.v1.FlashSaleService`.
pub const SERVICES: &[&str] = include!(concat!(env!("OUT_DIR"), "/services.rs"));
/// Lists the RPCs: each one's path, like `/flashsale.v1.FlashSaleService/CreateHold`, and its use case, like
/// `create_hold`.
pub const RPCS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));

#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated code")]
mod generated {
    tonic::include_proto!("flashsale.v1");
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn each_service_and_each_rpc_of_the_definition_is_listed_once() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let services: Vec<_> =
            files.iter().filter(|file| file.package() == "flashsale.v1").flat_map(|file| &file.service).collect();
        let names: Vec<String> = services.iter().map(|service| format!("flashsale.v1.{}", service.name())).collect();
        assert_eq!(SERVICES, names);
        let rpcs = services
            .iter()
            .zip(&names)
            .flat_map(|(service, name)| service.method.iter().map(move |rpc| format!("/{name}/{}", rpc.name())));
        assert_eq!(RPCS.iter().map(|(path, _)| *path).collect::<Vec<_>>(), rpcs.collect::<Vec<_>>());
        assert!(RPCS.len() >= 13, "{RPCS:?}");
        assert!(RPCS.contains(&("/flashsale.v1.PaymentService/HandlePaymentWebhook", "handle_payment_webhook")));
    }
}

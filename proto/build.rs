//! Compiles the service definition with protox, so that building needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    const PACKAGE: &str = "flashsale.v1";
    const PROTO: &str = "flashsale/v1/flash_sale.proto";
    println!("cargo::rerun-if-changed={PROTO}");

    let descriptors = protox::compile([PROTO], ["."])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("flash_sale_descriptor.bin"), descriptors.encode_to_vec())?;

    let (mut services, mut rpcs) = (Vec::new(), Vec::new());
    for file in descriptors.file.iter().filter(|file| file.package() == PACKAGE) {
        for service in &file.service {
            let service_name = format!("{PACKAGE}.{}", service.name());
            let of_service = service.method.iter().map(|rpc| (format!("/{service_name}/{}", rpc.name()), rpc.name()));
            rpcs.extend(of_service.map(|(path, name)| (path, snake_case(name))));
            services.push(service_name);
        }
    }
    fs::write(out_dir.join("services.rs"), format!("&{services:?}"))?;
    fs::write(out_dir.join("rpcs.rs"), format!("&{rpcs:?}"))?;

    tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute(PACKAGE, r#"#[cfg(feature = "client")]"#)
        .server_mod_attribute(PACKAGE, r#"#[cfg(feature = "server")]"#)
        .compile_fds(descriptors)?;
    Ok(())
}

/// Turns `CreateHold` into `create_hold`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

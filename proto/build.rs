//! Compiles the service definition with protox, so that building needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    const PROTO: &str = "flashsale/v1/flash_sale.proto";
    println!("cargo::rerun-if-changed=proto/{PROTO}");
    // The migrations are embedded in the crate, and a new file would otherwise not be noticed.
    println!("cargo::rerun-if-changed=migrations");

    let descriptors = protox::compile([PROTO], ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("flash_sale_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

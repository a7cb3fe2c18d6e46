//! Tells cargo that the migrations are part of the crate: it doesn't notice a new file in an embedded folder by itself.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}

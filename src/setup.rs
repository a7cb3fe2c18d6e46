//! What comes before serving: whether the database's URL can be used; and `server migrate`, which brings the tables up to
//! date, and puts the sample product on sale where asked.

use secrecy::ExposeSecret;
use tracing::info;

use crate::{
    checkout::create_product::{CreateProduct, create_product},
    config::{DatabaseConfig, Invalid},
    db::{self, Database, migrate::migrate},
    domain::{NewProduct, ProductName, RequestId},
    error::Error,
};

/// Made with it, the sample product is made once, however often and by however many it is asked for.
const SAMPLE_REQUEST_ID: &str = "flashsale-sample-product";

/// Checks the database's URL as the driver will read it.
///
/// # Errors
/// The setting and what is wrong with it.
pub fn check(config: &DatabaseConfig) -> Result<(), Invalid> {
    db::check_url(config.url.expose_secret()).map_err(|reason| config.invalid(reason))
}

/// Migrates, and with `seed` puts one product on sale: "Flash Sale Item", 1000 cents, 100 units. Both may run twice,
/// and by two at once. Needs a multi-threaded runtime.
///
/// # Errors
/// Those of [`migrate`] and of the database.
pub async fn run(config: &DatabaseConfig, seed: bool) -> Result<(), Error> {
    let ran = migrate(config).await?;
    info!(migrations = ran.len(), ran = ran.join(", "), "Database is up to date");
    if seed {
        let product = NewProduct {
            name: ProductName::parse("Flash Sale Item")?,
            price_cents: 1000,
            total_stock: 100,
            max_per_buyer: None,
            starts_at: None,
            ends_at: None,
        };
        let command = CreateProduct { product, request_id: RequestId::parse(SAMPLE_REQUEST_ID)? };
        let sample = create_product(Database::new(config)?.unattended(), &command).await?;
        info!(product_id = sample.product.id.get(), "Sample product is on sale");
    }
    Ok(())
}

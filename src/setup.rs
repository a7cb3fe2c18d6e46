//! Prepares serving: checks the database's URL, and runs `server migrate`.

use secrecy::ExposeSecret;
use tracing::info;

use crate::{
    checkout::create_product::{CreateProduct, create_product},
    config::{DatabaseConfig, GrantsConfig},
    db::{self, Database, migrate::migrate},
    domain::{NewProduct, Principal, ProductName, RequestId},
    error::Error,
    startup::BadSetting,
};

/// Identifies the making of the sample product, so that it is made only once.
const SAMPLE_REQUEST_ID: &str = "flashsale-sample-product";

/// Checks the database's URL in the way that the driver reads it.
///
/// # Errors
/// Names the setting, and says what is wrong with the URL.
pub fn check(config: &DatabaseConfig) -> Result<(), BadSetting> {
    db::check_url(config.url.expose_secret()).map_err(|reason| config.bad_url(reason))
}

/// Returns the statements that make the accounts of the database, for its administrator.
///
/// # Errors
/// Names the setting that should name the database.
pub fn grants(config: &DatabaseConfig, grants: &GrantsConfig) -> Result<String, BadSetting> {
    let of_url = || {
        check(config)?;
        db::database_of(config.url.expose_secret()).ok_or_else(|| config.bad_url("names no database"))
    };
    let database = grants.database.clone().map_or_else(of_url, Ok)?;
    Ok(db::grants::statements(&database, grants))
}

/// Migrates the database. With `seed` it also puts one product on sale: "Flash Sale Item", 1000 cents, 100 units.
///
/// It may run again, and twice at the same time. It needs a multi-threaded runtime.
///
/// # Errors
/// The errors of [`migrate`] and of the database.
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
        let command = CreateProduct {
            product,
            request_id: RequestId::parse(SAMPLE_REQUEST_ID)?,
            principal: Principal::stored("server migrate".to_owned()),
        };
        let sample = create_product(Database::new(config)?.unattended(), &command).await?;
        info!(product_id = sample.product.id.get(), "Sample product is on sale");
    }
    Ok(())
}

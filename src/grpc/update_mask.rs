//! Turns an UpdateProductRequest into the change that it asks for.

use super::{
    convert::{BadFields, limit, not_negative, timestamp},
    weight::MASK_PATHS_MAX,
};
use crate::{
    checkout::UpdateProduct,
    domain::{Invalid, Principal, ProductChange, ProductId, ProductName},
    error::Error,
    pb::{Product, UpdateProductRequest},
};

/// Names a field that a mask may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MaskPath {
    Name,
    PriceCents,
    MaxPerBuyer,
    StartsAt,
    EndsAt,
    Paused,
}

const PATHS: &str = "name, price_cents, max_per_buyer, starts_at, ends_at, paused";

impl MaskPath {
    fn parse(path: &str) -> Result<Self, Invalid> {
        match path {
            "name" => Ok(Self::Name),
            "price_cents" => Ok(Self::PriceCents),
            "max_per_buyer" => Ok(Self::MaxPerBuyer),
            "starts_at" => Ok(Self::StartsAt),
            "ends_at" => Ok(Self::EndsAt),
            "paused" => Ok(Self::Paused),
            "total_stock" | "available_stock" => Err(Invalid::new(
                "update_mask",
                format!("must not name {path}, which AdjustStock changes; what can be changed here: {PATHS}"),
            )),
            "product_id" => Err(Invalid::new("update_mask", "must not name product_id, which never changes")),
            _ => Err(Invalid::new("update_mask", format!("names something else than {PATHS}"))),
        }
    }
}

/// Reads a request. One error names all invalid fields. Fields that the mask doesn't name are ignored.
pub(super) fn command(request: &UpdateProductRequest, principal: Principal) -> Result<UpdateProduct, Error> {
    let mut bad = BadFields::default();
    let paths: &[String] = request.update_mask.as_ref().map_or(&[], |mask| &mask.paths);
    if paths.is_empty() {
        bad.name(Invalid::new("update_mask", format!("must name at least one of {PATHS}")));
    }
    if paths.len() > MASK_PATHS_MAX {
        bad.name(Invalid::new("update_mask", format!("must have at most {MASK_PATHS_MAX} paths, got {}", paths.len())));
    }
    let paths: Vec<MaskPath> =
        paths.iter().take(MASK_PATHS_MAX).filter_map(|path| bad.take(MaskPath::parse(path))).collect();
    let Some(product) = &request.product else {
        bad.name(Invalid::new("product", "is required"));
        return Err(bad.error());
    };
    let product_id = bad.take(within("product.product_id", ProductId::parse(product.product_id)));
    let mut change = ProductChange::default();
    for path in paths {
        bad.take(add(path, product, &mut change));
    }
    match product_id {
        Some(product_id) if bad.is_empty() => Ok(UpdateProduct { product_id, change, principal }),
        Some(_) | None => Err(bad.error()),
    }
}

/// Adds a field of the product to the change. An optional field that is absent is to be cleared.
fn add(path: MaskPath, product: &Product, change: &mut ProductChange) -> Result<(), Invalid> {
    match path {
        MaskPath::Name => change.name = Some(within("product.name", ProductName::parse(&product.name))?),
        MaskPath::PriceCents => change.price_cents = Some(not_negative("product.price_cents", product.price_cents)?),
        MaskPath::MaxPerBuyer => {
            let parsed = product.max_per_buyer.map(|value| limit("product.max_per_buyer", value));
            change.max_per_buyer = Some(parsed.transpose()?);
        }
        MaskPath::StartsAt => {
            let parsed = product.starts_at.map(|time| timestamp("product.starts_at", time));
            change.starts_at = Some(parsed.transpose()?);
        }
        MaskPath::EndsAt => {
            let parsed = product.ends_at.map(|time| timestamp("product.ends_at", time));
            change.ends_at = Some(parsed.transpose()?);
        }
        MaskPath::Paused => change.paused = Some(product.paused),
    }
    Ok(())
}

/// Gives an invalid field the name that it has in this request.
fn within<T>(field: &'static str, parsed: Result<T, Invalid>) -> Result<T, Invalid> {
    parsed.map_err(|invalid| Invalid { field, ..invalid })
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;

    use super::*;

    fn request(product: Product, paths: &[&str]) -> UpdateProductRequest {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        UpdateProductRequest { product: Some(product), update_mask: Some(FieldMask { paths }) }
    }

    fn bad_fields(request: &UpdateProductRequest) -> Vec<&'static str> {
        let Err(Error::Invalid(invalid)) = command(request, Principal::unknown()) else {
            panic!("{request:?} was taken")
        };
        invalid.iter().map(|invalid| invalid.field).collect()
    }

    #[test]
    fn only_what_the_mask_names_is_taken() {
        let product = Product { product_id: 7, name: "Shoe".to_owned(), price_cents: -1, ..Default::default() };
        let change = command(&request(product, &["name", "ends_at", "name"]), Principal::unknown()).unwrap().change;
        let name = Some(ProductName::parse("Shoe").unwrap());
        assert_eq!(change, ProductChange { name, ends_at: Some(None), ..Default::default() });
    }

    #[test]
    fn a_mask_without_or_with_other_fields_is_refused() {
        let product = Product { product_id: 7, ..Default::default() };
        assert_eq!(bad_fields(&request(product.clone(), &[])), ["update_mask"]);
        let no_mask = UpdateProductRequest { product: Some(product.clone()), update_mask: None };
        assert_eq!(bad_fields(&no_mask), ["update_mask"]);
        for path in ["", "*", "Name", "product.name", "product_id", "total_stock", "available_stock", "priceCents"] {
            assert_eq!(bad_fields(&request(product.clone(), &["paused", path])), ["update_mask"], "{path:?}");
        }
    }

    #[test]
    fn a_mask_has_six_paths_at_most_and_no_more_are_read() {
        let product = Product { product_id: 7, ..Default::default() };
        let paths = ["paused"; 6];
        assert!(command(&request(product.clone(), &paths), Principal::unknown()).is_ok());
        assert_eq!(bad_fields(&request(product.clone(), &["paused"; 7])), ["update_mask"]);
        assert_eq!(bad_fields(&request(product, &[""; 131_000])), ["update_mask"; 7]);
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let product = Product { price_cents: -1, max_per_buyer: Some(0), ..Default::default() };
        let all = request(product, &["name", "price_cents", "max_per_buyer", "colour"]);
        let expected =
            ["update_mask", "product.product_id", "product.name", "product.price_cents", "product.max_per_buyer"];
        assert_eq!(bad_fields(&all), expected);
        assert_eq!(bad_fields(&UpdateProductRequest::default()), ["update_mask", "product"]);
    }
}

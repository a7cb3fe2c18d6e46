//! What an answer may weigh. Each status of the server is made here.
//!
//! An error travels in headers. Its text stands there twice: as `grpc-message`, where a byte may become three, and in the
//! details, where three bytes become four. With these limits it stays below 8 KiB, which every client and proxy takes.

use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{BadRequest, ErrorDetails, FieldViolation, StatusExt};

/// Limits the fields that one error names.
pub(super) const VIOLATIONS_MAX: usize = 16;
/// Limits the paths in an update_mask: there are as many fields that it may name.
pub(super) const MASK_PATHS_MAX: usize = 6;
/// Limits the bytes of a request to health and to reflection, whose errors repeat its text.
pub(super) const SMALL_MESSAGE_BYTES_MAX: usize = 1024;

/// Limits the bytes of an error's text.
const MESSAGE_BYTES_MAX: usize = 512;
/// Limits the bytes of what is said about a field. The longest that the server says itself has some 130.
const DESCRIPTION_BYTES_MAX: usize = 160;
/// Stands where text was cut off.
const CUT_OFF: &str = "…";

/// Makes a status. What is too long is cut, and fields beyond the limit are left out.
pub(super) fn status(code: Code, message: &str, mut details: ErrorDetails, metadata: MetadataMap) -> Status {
    if let Some(bad) = details.bad_request() {
        let violations = bad.field_violations.iter().take(VIOLATIONS_MAX);
        let cut = violations
            .map(|violation| FieldViolation::new(&violation.field, cut(&violation.description, DESCRIPTION_BYTES_MAX)));
        let cut = BadRequest::new(cut.collect::<Vec<_>>());
        details.set_bad_request(cut.field_violations);
    }
    Status::with_error_details_and_metadata(code, cut(message, MESSAGE_BYTES_MAX), details, metadata)
}

/// Makes a status without details. Its text is cut.
pub(super) fn bare_status(code: Code, message: &str, metadata: MetadataMap) -> Status {
    Status::with_metadata(code, cut(message, MESSAGE_BYTES_MAX), metadata)
}

/// Cuts a text to a number of bytes, between two characters.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut ends = (0..=bytes_max - CUT_OFF.len()).rev();
    let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{CUT_OFF}", &text[..end])
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tonic_types::pb;

    use super::*;

    /// Limits the bytes of a status as a message: its text and its details.
    const STATUS_BYTES_MAX: usize = 4 * 1024;

    /// Returns the heaviest status that can be made: every text is as long as may be, and of bytes that become three.
    fn heaviest() -> Status {
        let long = "\u{1F600}".repeat(100_000);
        let mut details = ErrorDetails::new();
        for _ in 0..1000 {
            details.add_bad_request_violation("expected_unit_price_cents", &long);
        }
        details.set_error_info(
            "IDEMPOTENCY_KEY_REUSED",
            "flashsale",
            [("availableStock".to_owned(), i64::MIN.to_string())],
        );
        status(Code::InvalidArgument, &long, details, MetadataMap::new())
    }

    #[test]
    fn a_status_has_4_kib_at_most_and_8_kib_of_headers() {
        let status = heaviest();
        let message = pb::Status::decode(status.details()).unwrap();
        assert!(message.encoded_len() <= STATUS_BYTES_MAX, "{}", message.encoded_len());
        assert!(
            message.encoded_len() > STATUS_BYTES_MAX / 2,
            "the limits are not far below: {}",
            message.encoded_len()
        );
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations.len(), VIOLATIONS_MAX);
        let headers = status.into_http::<()>();
        let bytes: usize = headers.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes <= 8 * 1024, "{bytes}");
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer text", 8), "longe…");
        assert_eq!(cut("aéééé", 7), "aé…");
    }
}

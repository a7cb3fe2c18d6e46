//! Fuzz target of the writer of SQL literals: whatever a value is, the text has that value and nothing more.

use diesel::{ExpressionMethods, QueryDsl};

use super::{
    render::with_literals,
    schema::{payment_exceptions, products},
};
use crate::fuzz::{Corpus, ITERATIONS, Mutation, fuzz};

fn bytes_of(hex: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(hex).unwrap()
}

/// Returns what stands between two parts of a text, of which each has to be there once.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (start, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} isn't in {text}"));
    let (value, end) = rest.split_once(after).unwrap_or_else(|| panic!("{after} isn't in {text}"));
    assert!(!start.contains(after) && !end.contains(before), "{text}");
    value
}

#[test]
fn a_literal_is_its_value_and_nothing_more() {
    let is_valid = |input: &[u8]| !input.is_empty();
    let check = |input: &[u8]| {
        let number = input.iter().take(8).fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
        let note = String::from_utf8_lossy(input).into_owned();
        let text = with_literals(
            &diesel::update(payment_exceptions::table.find(number))
                .set((payment_exceptions::note.eq(&note), payment_exceptions::accepted.eq(number % 2 == 0))),
        )
        .unwrap();
        let written = between(&text, "`note` = _utf8mb4 x'", "', `accepted` = ");
        assert_eq!(bytes_of(written), note.as_bytes());
        assert_eq!(between(&text, "`accepted` = ", " WHERE"), if number % 2 == 0 { "1" } else { "0" });
        assert!(text.ends_with(&format!("`id` = {number})")), "{text}");

        let select =
            with_literals(&products::table.filter(products::request_id.eq(input)).select(products::id)).unwrap();
        assert_eq!(bytes_of(between(&select, "`request_id` = x'", "')")), input);
        // Each character outside of the hexadecimal digits is the statement's own.
        for text in [text, select] {
            assert!(text.is_ascii() && !text.contains([';', '"', '\\', '#']) && !text.contains("--"), "{text}");
        }
    };
    fuzz!("sql_literals", is_valid, check);
}

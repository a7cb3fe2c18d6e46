//! Fuzz target of the principals file: whoever writes it, a line is taken as it says or named by its number.

use super::Principals;
use crate::fuzz::{Corpus, ITERATIONS, Mutation, fuzz};

#[test]
fn a_principals_file_is_taken_or_one_line_of_it_is_named() {
    let is_valid = |input: &[u8]| Principals::parse(input).is_ok();
    let check = |input: &[u8]| match Principals::parse(input) {
        Ok(principals) => {
            let lines = input.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            assert!(principals.count() <= lines.count(), "{}", String::from_utf8_lossy(input));
        }
        Err(error) => {
            // The error goes to a terminal and to the log, and repeats no text of the file.
            let text = error.to_string();
            assert!(text.len() < 300 && !text.contains('\n') && !text.contains("3eb1bd4"), "{text}");
        }
    };
    fuzz!("principals", is_valid, check);
}

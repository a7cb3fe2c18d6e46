//! Ids of wishes, which make a call repeatable.

/// Makes up a request id: 128 random bits as 32 hexadecimal digits, which nobody can guess.
///
/// The client does so by itself where a call has none. A caller that wants to repeat a wish after its own restart makes
/// the id up first, stores it, and then calls.
pub fn new_request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_has_32_digits_and_never_comes_again() {
        let (one, two) = (new_request_id(), new_request_id());
        assert_ne!(one, two);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    }
}

//! Reads single values. An error says what was expected; the caller adds the setting and the value.
//!
//! The parsers of `clap` itself say what is wrong, like `invalid digit found in string`, but not what was expected.

use std::{net::SocketAddr, time::Duration};

/// Reads an IP address and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, like 127.0.0.1:8000 or [::1]:8000".to_owned())
}

/// Returns a parser of whole numbers from 1 to `max`.
pub(super) fn count(max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(format!("expected a whole number from 1 to {max}")),
    }
}

/// Reads a duration of any length.
pub(super) fn any_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("expected a duration like 120s or 30m: {error}"))
}

/// Reads a duration from `min` to `max`, both included. `bounds` says them in words.
pub(super) fn duration(text: &str, min: Duration, max: Duration, bounds: &str) -> Result<Duration, String> {
    let duration = any_duration(text)?;
    if (min..=max).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("expected a duration {bounds}"))
}

/// Refuses parts of a microsecond, which the database can't keep.
pub(super) fn whole_microseconds(duration: Duration) -> Result<Duration, String> {
    if duration.subsec_nanos().is_multiple_of(1_000) {
        return Ok(duration);
    }
    Err("expected whole microseconds".to_owned())
}

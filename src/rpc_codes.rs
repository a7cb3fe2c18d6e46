//! The status codes of gRPC, as metrics, spans and log lines name them.

/// Lists the names of the codes, by their numbers.
pub const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Stands for a call that its caller has given up.
pub const CANCELLED: i32 = 1;
const UNKNOWN: usize = 2;

/// Returns the place of a code in [`NAMES`]. A number that is no code is UNKNOWN.
pub fn place(code: i32) -> usize {
    usize::try_from(code).ok().filter(|code| *code < NAMES.len()).unwrap_or(UNKNOWN)
}

/// Returns the name of a code. A number that is no code is UNKNOWN.
pub fn name(code: i32) -> &'static str {
    NAMES[place(code)]
}

/// Whether a code says that the server is at fault.
///
/// OpenTelemetry's conventions count UNIMPLEMENTED as well, which here is the fault of a caller who asks for a method that
/// there isn't.
pub fn is_server_fault(code: i32) -> bool {
    matches!(name(code), "UNKNOWN" | "DEADLINE_EXCEEDED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_that_grpc_gives_them() {
        assert_eq!(
            [0, 1, 4, 14, 16].map(name),
            ["OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "UNAUTHENTICATED"]
        );
        assert_eq!([-1, 17, 99].map(name), ["UNKNOWN"; 3]);
        let faults: Vec<i32> = (0..17).filter(|code| is_server_fault(*code)).collect();
        assert_eq!(faults, [2, 4, 13, 14, 15]);
    }
}

//! The limit of open files, which each connection counts against.

use std::fs;

use tracing::warn;

/// Counts the files that a program has open beside its connections: logs, timers, the listeners themselves.
const OTHER_FILES: usize = 64;

/// Warns in the log where the process may open fewer files than its connections need. Only Linux says how many.
pub fn warn_of_few_files(connections_max: usize) {
    let needed = connections_max.saturating_add(OTHER_FILES);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = soft_limit(&limits).filter(|limit| *limit < needed) {
        warn!(
            limit,
            needed, "The limit of open files (ulimit -n, LimitNOFILE) is lower than the connections that there may be"
        );
    }
}

/// Reads the limit that holds from the text of `/proc/self/limits`. `None`: there is none.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit("Max open files   unlimited   unlimited  files\n"), None);
        assert_eq!(soft_limit(""), None);
    }
}

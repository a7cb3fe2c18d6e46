//! Addresses as attributes of spans.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::Span;

/// Counts the addresses whose texts a thread keeps. A server has few callers, and one address of its own.
const KEPT: usize = 8;

/// Holds the addresses of a connection's two ends, as far as they are known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ends {
    /// Where the server listens.
    pub server: Option<SocketAddr>,
    /// Where the call came from.
    pub peer: Option<SocketAddr>,
}

thread_local! {
    static TEXTS: RefCell<Vec<(IpAddr, Arc<str>)>> = const { RefCell::new(Vec::new()) };
}

/// Sets an address and its port, where the address is known.
pub(super) fn set(span: &mut Span, address_key: &'static str, port_key: &'static str, address: Option<SocketAddr>) {
    if let Some(address) = address {
        span.set(address_key, text(address.ip()));
        span.set(port_key, i64::from(address.port()));
    }
}

/// Returns the text of an address. The texts of the last few are kept: to write one costs as much as the rest of a span.
fn text(ip: IpAddr) -> Arc<str> {
    TEXTS.with_borrow_mut(|texts| {
        if let Some((_, text)) = texts.iter().find(|(kept, _)| *kept == ip) {
            return Arc::clone(text);
        }
        let text: Arc<str> = ip.to_canonical().to_string().into();
        if texts.len() == KEPT {
            texts.remove(0);
        }
        texts.push((ip, Arc::clone(&text)));
        text
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn texts_are_right_and_few_are_kept() {
        for round in 0..2 {
            for last in 0..20 {
                let ip = IpAddr::from(Ipv4Addr::new(10, 0, round, last));
                assert_eq!(&*text(ip), &*format!("10.0.{round}.{last}"));
                assert_eq!(&*text(ip), &*format!("10.0.{round}.{last}"));
            }
        }
        assert_eq!(&*text("::ffff:10.1.2.3".parse().unwrap()), "10.1.2.3");
        TEXTS.with_borrow(|texts| assert_eq!(texts.len(), KEPT));
    }
}

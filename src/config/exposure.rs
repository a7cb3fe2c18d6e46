//! What the settings leave open to strangers. It ends the start, unless the operator has said that it is meant.
//!
//! Loopback needs nothing of all this: `localhost`, 127.0.0.0/8 and ::1.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::Args;
use tracing::warn;

use super::{DatabaseConfig, secret::SettingName};
use crate::{gateway::ServerUrl, startup::BadSetting};

pub(super) const LISTEN: SettingName = SettingName { env: "FLASHSALE_LISTEN", flag: "listen" };
pub(super) const GATEWAY_LISTEN: SettingName = SettingName { env: "FLASHSALE_GATEWAY_LISTEN", flag: "listen" };
const METRICS_LISTEN: SettingName = SettingName { env: "FLASHSALE_METRICS_LISTEN", flag: "metrics-listen" };
const SERVER_URL: SettingName = SettingName { env: "FLASHSALE_SERVER_URL", flag: "server-url" };

#[derive(Args)]
pub(super) struct InsecureArgs {
    /// Start also where strangers may read or change something. Each such thing is then a warning.
    #[arg(
        long,
        env = "FLASHSALE_INSECURE",
        value_name = "BOOL",
        default_value = "false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true,
        action = clap::ArgAction::Set
    )]
    insecure: bool,
}

/// Holds what decides whether strangers may read or change something. A field that a program leaves out opens nothing.
#[derive(Default)]
pub(super) struct Exposure<'a> {
    /// The addresses where calls are taken, each with its setting.
    pub(super) listens: Vec<(SettingName, SocketAddr)>,
    /// The metrics address.
    pub(super) metrics_listen: Option<SocketAddr>,
    /// Whether `listens` are encrypted.
    pub(super) is_tls: bool,
    /// Whether there are calls that only some may make: all of a server's, and the shop's routes of a gateway.
    pub(super) needs_principals: bool,
    /// Whether the program knows who may make them.
    pub(super) has_principals: bool,
    /// Whether a gateway believes payment events that nobody signed.
    pub(super) takes_unsigned_webhooks: bool,
    /// The database.
    pub(super) database: Option<&'a DatabaseConfig>,
    /// The server that a gateway calls.
    pub(super) server_url: Option<&'a ServerUrl>,
}

impl Exposure<'_> {
    /// Returns what is to be warned of.
    ///
    /// # Errors
    /// Something is open to strangers, and the operator hasn't said that it is meant.
    pub(super) fn check(&self, args: &InsecureArgs) -> Result<Risks, BadSetting> {
        let mut risks = self.risks();
        if !args.insecure && !risks.is_empty() {
            let first = risks.remove(0);
            let others = risks.iter().map(|risk| format!("{} {}; ", risk.setting, risk.what)).collect::<String>();
            let reason = format!("{}; {others}or set FLASHSALE_INSECURE (--insecure) to true", first.what);
            return Err(BadSetting::new(first.setting, reason));
        }
        risks.extend(self.open_metrics());
        Ok(Risks(risks))
    }

    fn risks(&self) -> Vec<Risk> {
        let open: Vec<_> = self.listens.iter().filter(|(_, address)| !is_loopback(address.ip())).collect();
        let mut risks = Vec::new();
        let mut add = |is_open: bool, what: &str| {
            if let Some((setting, address)) = open.first().filter(|_| is_open) {
                risks.push(Risk { setting: *setting, what: format!("is {address}, where {what}") });
            }
        };
        add(!self.is_tls, "calls come in plain text: set FLASHSALE_TLS_CERT and FLASHSALE_TLS_KEY");
        add(self.needs_principals && !self.has_principals, "anybody may call: set FLASHSALE_PRINCIPALS_FILE");
        add(self.takes_unsigned_webhooks, "anybody may send payment events: set FLASHSALE_WEBHOOK_SECRETS");
        if let Some(database) = self.database.filter(|database| is_open(database)) {
            let what = "leads to another host, and not by verified TLS: add require_ssl=true to the URL, or set \
                        FLASHSALE_DB_CA_FILE";
            risks.push(Risk { setting: database.setting, what: what.to_owned() });
        }
        if self.server_url.is_some_and(|url| !url.is_tls() && !is_loopback_name(url.host())) {
            let what = "leads to another host in plain text: use https://";
            risks.push(Risk { setting: SERVER_URL, what: what.to_owned() });
        }
        risks
    }

    /// Returns a warning for a metrics address that isn't certainly a private one.
    fn open_metrics(&self) -> Option<Risk> {
        let address = self.metrics_listen.filter(|address| !is_private(address.ip()))?;
        let what = format!("is {address}: whoever reaches it reads the metrics; a private address is better");
        Some(Risk { setting: METRICS_LISTEN, what })
    }
}

/// Holds what the settings leave open to strangers.
#[derive(Debug, Clone, Default)]
pub struct Risks(Vec<Risk>);

impl Risks {
    /// Warns of each in the log.
    pub fn warn(&self) {
        for Risk { setting, what } in &self.0 {
            warn!(setting = setting.env, risk = what, "The settings are not secure");
        }
    }
}

#[derive(Debug, Clone)]
struct Risk {
    setting: SettingName,
    /// Continues a sentence that begins with the setting.
    what: String,
}

/// Whether somebody between here and the database could read or change what is said.
fn is_open(database: &DatabaseConfig) -> bool {
    !database.transport.is_local && !database.transport.is_verified
}

/// Whether a host, as it stands in a URL, is this machine.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse().map_or_else(|_| host.eq_ignore_ascii_case("localhost"), is_loopback)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn is_private(address: IpAddr) -> bool {
    let is_local =
        |address: Ipv6Addr| address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local();
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => is_local(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;

    fn database(is_verified: bool) -> DatabaseConfig {
        let url = "mysql://u:hunter2@db/sale".to_owned();
        DatabaseConfig { transport: Transport { is_local: false, is_verified }, ..DatabaseConfig::new(url.into(), 1) }
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_else() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.8.7", "::1", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in
            ["0.0.0.0", "[::]", "128.0.0.1", "localhost.example", "127.0.0.1.example", "db", "[::ffff:10.0.0.1]"]
        {
            assert!(!is_loopback_name(host), "{host}");
        }
    }

    #[test]
    fn a_metrics_address_that_may_be_public_is_warned_of() {
        for (address, warned) in [
            ("0.0.0.0:1", 1),
            ("[::]:1", 1),
            ("203.0.113.1:1", 1),
            ("127.0.0.1:1", 0),
            ("10.1.2.3:1", 0),
            ("[fd00::1]:1", 0),
            ("[fe80::1]:1", 0),
        ] {
            let exposure = Exposure { metrics_listen: Some(address.parse().unwrap()), ..Exposure::default() };
            assert_eq!(exposure.check(&InsecureArgs { insecure: false }).unwrap().0.len(), warned, "{address}");
        }
    }

    #[test]
    fn all_that_is_open_is_said_in_one_line() {
        let (database, url) = (database(false), "http://server:1".parse().unwrap());
        let open = || Exposure {
            listens: vec![(METRICS_LISTEN, "127.0.0.1:2".parse().unwrap()), (LISTEN, "0.0.0.0:1".parse().unwrap())],
            needs_principals: true,
            takes_unsigned_webhooks: true,
            database: Some(&database),
            server_url: Some(&url),
            ..Exposure::default()
        };
        let line = |exposure: Exposure<'_>| exposure.check(&InsecureArgs { insecure: false }).unwrap_err().to_string();
        let all = line(open());
        assert!(all.starts_with("FLASHSALE_LISTEN (--listen) is 0.0.0.0:1, where calls come in plain text"), "{all}");
        for named in [
            "set FLASHSALE_TLS_CERT and FLASHSALE_TLS_KEY;",
            "set FLASHSALE_PRINCIPALS_FILE;",
            "set FLASHSALE_WEBHOOK_SECRETS;",
            "; DATABASE_URL (--database-url) leads",
            "set FLASHSALE_DB_CA_FILE;",
            "; FLASHSALE_SERVER_URL (--server-url) leads",
            "or set FLASHSALE_INSECURE (--insecure) to true",
        ] {
            assert!(all.contains(named), "{named}: {all}");
        }
        assert!(!all.contains("hunter2") && !all.contains('\n'), "{all}");
        let verified = self::database(true);
        let some = line(Exposure { is_tls: true, has_principals: true, database: Some(&verified), ..open() });
        assert!(!some.contains("TLS") && !some.contains("PRINCIPALS") && !some.contains("DATABASE"), "{some}");
        assert_eq!(open().check(&InsecureArgs { insecure: true }).unwrap().0.len(), 5);
        assert!(Exposure::default().check(&InsecureArgs { insecure: false }).unwrap().0.is_empty());
    }
}

//! What is known of receivers without anybody writing it down: the rules that hold where the policy file says
//! nothing. Figures read off the public defaults of other MTAs and the receivers' own pages (2026); none is a
//! promise of theirs.

use std::sync::OnceLock;

use crate::rate::Rate;
use crate::shaping::{Matches, Shaping};
use crate::site::SiteName;
use crate::tls::TlsMode;
use crate::verdict::RuleName;

/// Recipients a second towards a receiver nobody said anything about (KumoMTA's default).
pub const RATE_CEILING: Rate = Rate::per_second(100);
/// Where growth begins under that ceiling: slow enough that a receiver who never saw us answers kindly.
pub const RATE_START: Rate = Rate::per_second(2);
/// Connections to begin with while the rate still grows.
pub const CONNECTIONS_START: u32 = 2;
/// Connections at once (KumoMTA's default).
pub const CONNECTIONS: u32 = 10;
/// Transactions on one connection (KumoMTA's default; Postfix has no limit but 300 s).
pub const MESSAGES_PER_CONNECTION: u32 = 100;
/// New connections (KumoMTA's default).
pub const CONNECTION_RATE: Rate = Rate::per_minute(100);
/// Recipients in one transaction: what every server must take (RFC 5321 4.5.3.1.8).
pub const RECIPIENTS_PER_MESSAGE: u32 = 100;

/// One receiver: its name, the suffixes of its MX hosts, connections, messages a connection, TLS.
struct Known {
    site: &'static str,
    suffixes: &'static [&'static str],
    connections: u32,
    messages: u32,
    rate: Option<Rate>,
    tls: Option<TlsMode>,
}

const fn known(
    site: &'static str,
    suffixes: &'static [&'static str],
    connections: u32,
    messages: u32,
) -> Known {
    Known { site, suffixes, connections, messages, rate: None, tls: None }
}

/// Its MX hosts have offered STARTTLS on every contact for years: one that does not is somebody else.
const fn always_tls(known: Known) -> Known {
    Known { tls: Some(TlsMode::Encrypt), ..known }
}

/// Sources: KumoMTA's community shaping file, unless a line says otherwise.
static RECEIVERS: &[Known] = &[
    // One site for Gmail and Workspace: they count senders together.
    always_tls(known("google.com", &[".google.com", ".googlemail.com"], 5, 50)),
    // Microsoft's three: consumer, Microsoft 365, and 365's new MX names.
    known("olc.protection.outlook.com", &[".olc.protection.outlook.com"], 5, 50),
    known("mail.protection.outlook.com", &[".mail.protection.outlook.com"], 5, 50),
    known("mx.microsoft", &[".mx.microsoft"], 5, 50),
    // Yahoo publishes 20 messages a connection (senders.yahooinc.com).
    known("yahoodns.net", &[".yahoodns.net"], 10, 20),
    known("icloud.com", &[".icloud.com"], 10, 5),
    always_tls(known("comcast.net", &[".comcast.net"], 25, 1000)),
    // Orange answers "Trop de connexions" beyond two.
    always_tls(known("orange.fr", &[".orange.fr"], 2, 100)),
    known("mimecast.com", &[".mimecast.com"], 10, 100),
    always_tls(known("gmx.net", &[".gmx.net"], 4, 20)),
    always_tls(known("web.de", &[".web.de"], 4, 20)),
    known("kundenserver.de", &[".kundenserver.de"], 4, 20),
    known("qq.com", &[".qq.com"], 4, 8),
    known("163.com", &[".163.com"], 4, 7),
    always_tls(known("barracudanetworks.com", &[".barracudanetworks.com"], 10, 15)),
    Known { rate: Some(Rate::per_second(10)), ..known("yahoo.co.jp", &[".yahoo.co.jp"], 2, 20) },
];

fn blank(name: &str, matches: Matches) -> Shaping {
    Shaping { built_in: true, ..Shaping::new(RuleName::new(name), matches) }
}

/// The built-in rules, the default last.
pub fn rules() -> &'static [Shaping] {
    static RULES: OnceLock<Vec<Shaping>> = OnceLock::new();
    RULES.get_or_init(|| {
        let receivers = RECEIVERS.iter().flat_map(|known| {
            known.suffixes.iter().map(|suffix| Shaping {
                rate: known.rate,
                connections: Some(known.connections),
                messages_per_connection: Some(known.messages),
                tls: known.tls,
                ..blank(&format!("built-in mx_suffix {suffix}"), Matches::MxSuffix((*suffix).into()))
            })
        });
        receivers.chain(std::iter::once(default_rule().clone())).collect()
    })
}

/// The rule that holds where no other says anything.
pub fn default_rule() -> &'static Shaping {
    static RULE: OnceLock<Shaping> = OnceLock::new();
    RULE.get_or_init(|| Shaping {
        rate: Some(RATE_CEILING),
        start: Some(RATE_START),
        burst: Some(1),
        connections: Some(CONNECTIONS),
        messages_per_connection: Some(MESSAGES_PER_CONNECTION),
        connection_rate: Some(CONNECTION_RATE),
        recipients_per_message: Some(RECIPIENTS_PER_MESSAGE),
        ..blank("built-in default", Matches::Default)
    })
}

/// The built-in suffixes, each with the name of its site.
pub fn suffixes() -> impl Iterator<Item = (&'static str, SiteName)> {
    RECEIVERS
        .iter()
        .flat_map(|known| known.suffixes.iter().map(|suffix| (*suffix, SiteName::new(known.site))))
}

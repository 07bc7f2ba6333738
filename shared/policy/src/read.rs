//! From the text of a policy file to the policy: each key's type, unit and range. What keys mean together is `check`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use posthaste_mail::{Domain, Stage};
use toml::de::{DeTable, DeValue};

use crate::check::check;
use crate::classify::{CodePattern, EnhancedPattern, Rule};
use crate::file::{
    RelayHost,    AddressFamily, Egress, EgressName, Matches, Policy, Route, RouteMatch, Shaping, Smarthost, Tls,
};
use crate::rate::Rate;
use crate::retry::RetryPolicy;
use crate::section::{Notes, Problem, Read, Section};
use crate::site::SiteName;
use crate::span::parse_span;
use crate::tls::TlsMode;
use crate::verdict::{Action, Category, RuleName, Scope, Suppress};

/// Largest policy file in octets: a thousand rules fit many times over.
pub const POLICY_BYTES_MAX: usize = 4 << 20;

impl Policy {
    /// Reads a policy file; or says everything that is wrong with it, in the order of its lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let whole = |message: String| vec![Problem { line: 0, key: String::new(), message }];
        if text.len() > POLICY_BYTES_MAX {
            return Err(whole(format!("the policy is larger than {POLICY_BYTES_MAX} octets")));
        }
        let notes = Notes::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mut problems: Vec<Problem> = errors
                .iter()
                .map(|error| Problem {
                    line: error.span().map_or(0, |span| notes.line_at(span.start)),
                    key: String::new(),
                    message: format!("not TOML: {}", error.message()),
                })
                .collect();
            problems.sort();
            problems.dedup();
            return Err(problems);
        }
        let policy = read(Section::root(table.get_ref(), &notes));
        check(&policy, &notes);
        let problems = notes.into_problems();
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }
}

fn read(mut root: Section<'_, '_>) -> Policy {
    let mut policy = Policy::default();
    let mut mta = root.table("mta");
    policy.mta.hostname = mta.get("hostname", domain);
    policy.mta.return_path_domain = mta.get("return_path_domain", domain);
    mta.done();

    let egress: Vec<Egress> = root.tables("egress").into_iter().filter_map(read_egress).collect();
    if !egress.is_empty() {
        policy.egress = egress;
    }

    let mut dns = root.table("dns");
    policy.dns.servers = dns.list("servers", server).unwrap_or_default();
    dns.set("timeout", &mut policy.dns.timeout, some_span);
    dns.done();

    read_smtp(root.table("smtp"), &mut policy);
    read_tls(root.table("tls"), &mut policy.tls);
    read_retry(root.table("retry"), &mut policy);
    policy.shaping = root.tables("shaping").into_iter().filter_map(read_shaping).collect();
    policy.routes = root.tables("route").into_iter().filter_map(read_route).collect();
    policy.verdicts = root.tables("verdict").into_iter().enumerate().filter_map(|(n, s)| read_verdict(n, s)).collect();

    let mut auth = root.table("auth");
    policy.auth.require_identity = auth.get("require_identity", switch);
    policy.auth.require_alignment = auth.get("require_alignment", switch);
    auth.done();

    read_keeping(&mut root, &mut policy);
    let mut sandbox = root.table("sandbox");
    sandbox.set("all", &mut policy.sandbox.all, switch);
    sandbox.done();
    root.done();
    policy
}

fn read_egress(mut section: Section<'_, '_>) -> Option<Egress> {
    let name = section.get("name", name);
    let hostname = section.get("hostname", domain);
    let public_ip = section.list("public_ip", address).unwrap_or_default();
    if name.is_none() {
        section.problem("", "has no name: write name = \"default\"");
    }
    section.done();
    Some(Egress { name: EgressName::new(&name?), hostname, public_ip })
}

fn read_smtp(mut section: Section<'_, '_>, policy: &mut Policy) {
    let smtp = &mut policy.smtp;
    section.set("port", &mut smtp.port, port);
    if let Some(families) = section.list("address_families", |v| one_of(v, AddressFamily::parse, AddressFamily::ALL)) {
        smtp.address_families = families;
    }
    section.set("allow_private_addresses", &mut smtp.allow_private_addresses, switch);
    section.set("connect_timeout", &mut smtp.connect_timeout, some_span);
    section.set("banner_timeout", &mut smtp.banner_timeout, some_span);
    section.set("command_timeout", &mut smtp.command_timeout, some_span);
    section.set("data_timeout", &mut smtp.data_timeout, some_span);
    section.set("body_timeout", &mut smtp.body_timeout, some_span);
    section.set("dot_timeout", &mut smtp.dot_timeout, some_span);
    section.set("idle_timeout", &mut smtp.idle_timeout, span);
    section.done();
}

fn read_tls(mut section: Section<'_, '_>, tls: &mut Tls) {
    section.set("mode", &mut tls.mode, tls_mode);
    tls.ca_file = section.get("ca_file", |v| text(v).map(PathBuf::from));
    section.set("dane", &mut tls.dane, switch);
    section.set("mta_sts", &mut tls.mta_sts, switch);
    section.set("mta_sts_port", &mut tls.mta_sts_port, port);
    section.done();
}

/// `[retry]`, then each lane's table over it.
fn read_retry(mut section: Section<'_, '_>, policy: &mut Policy) {
    let mut all = RetryPolicy::default();
    read_retry_keys(&mut section, &mut all);
    let lanes = ["transactional", "bulk"].map(|lane| {
        let mut own = all.clone();
        let mut table = section.table(lane);
        read_retry_keys(&mut table, &mut own);
        table.done();
        own
    });
    section.done();
    policy.retry = lanes;
}

fn read_retry_keys(section: &mut Section<'_, '_>, retry: &mut RetryPolicy) {
    if let Some(schedule) = section.list("schedule", some_span) {
        retry.schedule = schedule;
    }
    section.set("jitter", &mut retry.jitter, share);
    section.set("expire_after", &mut retry.expire_after, some_span);
    if let Some(throttle) = section.list("throttle", some_span) {
        retry.throttle = throttle;
    }
    section.set("ambiguous_after", &mut retry.ambiguous_after, some_span);
}

fn read_shaping(mut section: Section<'_, '_>) -> Option<Shaping> {
    let matches = section.get("match", |v| if v.as_str() == Some("default") { Ok(None) } else { Ok(Some(())) });
    let matches = match matches {
        None => {
            section.problem("", "has no match: write match = \"default\" or match = { domain = \"example.net\" }");
            None
        }
        Some(None) => Some(Matches::Default),
        Some(Some(())) => read_shaping_match(&mut section),
    };
    let mut rule = Shaping::new(RuleName::new(""), Matches::Default);
    rule.rate = section.get("rate", rate);
    rule.start = section.get("start", rate);
    rule.burst = section.get("burst", count);
    rule.connections = section.get("connections", count);
    rule.messages_per_connection = section.get("messages_per_connection", count);
    rule.connection_rate = section.get("connection_rate", rate);
    rule.recipients_per_message = section.get("recipients_per_message", count);
    rule.egress = section.get("egress", |v| name(v).map(|n| EgressName::new(&n)));
    rule.tls = section.get("tls", tls_mode);
    section.done();
    let matches = matches?;
    Some(Shaping { name: RuleName::new(&matches.to_string()), matches, ..rule })
}

fn read_shaping_match(section: &mut Section<'_, '_>) -> Option<Matches> {
    let mut table = section.table("match");
    if !table.is_there() {
        return None;
    }
    let site = table.get("site", |v| text(v).map(|t| Matches::Site(SiteName::new(&t.to_ascii_lowercase()))));
    let suffix = table.get("mx_suffix", suffix);
    let domain = table.get("domain", |v| domain(v).map(Matches::Domain));
    let mut given = [site, suffix, domain].into_iter().flatten();
    let matches = given.next();
    if given.next().is_some() {
        table.problem("", "names more than one thing, and no rule is about both: write one [[shaping]] for each");
    }
    if matches.is_none() && ["site", "mx_suffix", "domain"].iter().all(|key| !table.mentions(key)) {
        table.problem("", "is empty: write one of site, mx_suffix, domain");
    }
    table.done();
    matches
}

fn read_route(mut section: Section<'_, '_>) -> Option<Route> {
    let default = section.get("match", |v| Ok(v.as_str() == Some("default")));
    let matches = match default {
        None => {
            section.problem("", "has no match: write match = \"default\" or match = { domain = \"example.net\" }");
            None
        }
        Some(true) => Some(RouteMatch::Default),
        Some(false) => {
            let mut table = section.table("match");
            let named = table.get("domain", domain).map(RouteMatch::Domain);
            if table.is_there() && named.is_none() && !table.mentions("domain") {
                table.problem("", "is empty: write match = { domain = \"example.net\" }");
            }
            table.done();
            named
        }
    };
    let host_port = section.get("smarthost", smarthost);
    if host_port.is_none() && !section.mentions("smarthost") {
        section.problem("", "has no smarthost: write smarthost = \"smtp.relay.example:587\"");
    }
    let auth_secret = section.get("auth_secret", name);
    let username = section.get("username", name);
    let usual = if auth_secret.is_some() { TlsMode::Verify } else { TlsMode::Opportunistic };
    let tls = section.get("tls", tls_mode).unwrap_or(usual);
    section.done();
    let (host, port) = host_port?;
    Some(Route { matches: matches?, smarthost: Smarthost { host, port, auth_secret, username, tls } })
}

fn read_verdict(n: usize, mut section: Section<'_, '_>) -> Option<Rule> {
    let rule_name = section.get("name", name).unwrap_or_else(|| format!("verdict[{n}]"));
    let code = section.list("code", |v| code_text(v).and_then(|t| CodePattern::parse(&t))).unwrap_or_default();
    let enhanced = section.list("enhanced", |v| text(v).and_then(|t| EnhancedPattern::parse(&t))).unwrap_or_default();
    let mx = section.list("mx", |v| suffix(v).map(|_| v.as_str().unwrap_or("").to_ascii_lowercase())).unwrap_or_default();
    let stage = section.list("stage", |v| one_of(v, Stage::parse, &Stage::ALL)).unwrap_or_default();
    let patterns = section.list("text", pattern).unwrap_or_default();
    let unless = section.list("unless", pattern).unwrap_or_default();
    let category = section.get("category", |v| one_of(v, Category::parse, Category::ALL));
    let scope = section.get("scope", |v| one_of(v, Scope::parse, Scope::ALL));
    let action = section.get("action", |v| one_of(v, Action::parse, Action::ALL));
    let suppress = section.get("suppress", |v| text(v).and_then(|t| Suppress::try_from(t.to_owned())));
    if category.is_none() && !section.mentions("category") {
        section.problem("", "has no category: write category = \"policy\"");
    }
    section.done();
    Some(Rule { name: rule_name, code, enhanced, mx, stage, text: patterns, unless, category: category?, scope, action, suppress })
}

/// `[suppression]`, `[retention]`, `[limits]`.
fn read_keeping(root: &mut Section<'_, '_>, policy: &mut Policy) {
    let mut section = root.table("suppression");
    let lengths = &mut policy.suppression;
    section.set("bad_mailbox", &mut lengths.bad_mailbox, some_span);
    section.set("bad_mailbox_known", &mut lengths.bad_mailbox_known, some_span);
    section.set("known_within", &mut lengths.known_within, some_span);
    section.set("bad_domain", &mut lengths.bad_domain, some_span);
    section.set("inactive", &mut lengths.inactive, some_span);
    section.set("mailbox_full", &mut lengths.mailbox_full, some_span);
    section.set("mailbox_full_within", &mut lengths.mailbox_full_within, some_span);
    section.done();

    let mut section = root.table("retention");
    section.set("ledger", &mut policy.retention.ledger, some_span);
    section.set("spool", &mut policy.retention.spool, span);
    section.set("events", &mut policy.retention.events, some_span);
    section.done();

    let mut section = root.table("limits");
    section.set("message_bytes", &mut policy.size.message_bytes, |v| whole(v).and_then(positive));
    section.set("recipients", &mut policy.size.recipients, count);
    section.done();
}

fn text<'v>(value: &'v DeValue<'_>) -> Read<&'v str> {
    value.as_str().ok_or_else(|| format!("is a text in quotes, not {} {}", article(value), value.type_str()))
}

fn article(value: &DeValue<'_>) -> &'static str {
    if value.type_str().starts_with(['a', 'i']) { "an" } else { "a" }
}

fn name(value: &DeValue<'_>) -> Read<String> {
    let text = text(value)?;
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err(format!("`{text}` is no name: 1 to 64 visible ASCII characters")) }
}

fn switch(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| format!("is true or false, not {} {}", article(value), value.type_str()))
}

fn whole(value: &DeValue<'_>) -> Read<u64> {
    let number = value.as_integer().ok_or_else(|| format!("is a whole number, not {} {}", article(value), value.type_str()))?;
    let digits = number.as_str().replace('_', "");
    u64::from_str_radix(digits.trim_start_matches('+'), number.radix())
        .map_err(|_| format!("`{digits}` is out of range: write a whole number from 0"))
}

fn positive(number: u64) -> Read<u64> {
    if number == 0 { Err("0 would let nothing through: write at least 1".to_owned()) } else { Ok(number) }
}

fn count(value: &DeValue<'_>) -> Read<u32> {
    let number = whole(value).and_then(positive)?;
    u32::try_from(number).ok().filter(|n| *n <= 1_000_000).ok_or_else(|| format!("{number} is out of range: 1 to 1000000"))
}

fn port(value: &DeValue<'_>) -> Read<u16> {
    let number = whole(value)?;
    u16::try_from(number).ok().filter(|p| *p > 0).ok_or_else(|| format!("{number} is no port: 1 to 65535"))
}

fn share(value: &DeValue<'_>) -> Read<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>().ok(),
        DeValue::Integer(_) => whole(value).ok().map(|n| n as f64),
        _ => None,
    };
    number.filter(|n| (0.0..=1.0).contains(n)).ok_or_else(|| "is a share from 0 to 1, such as 0.1".to_owned())
}

fn span(value: &DeValue<'_>) -> Read<Duration> {
    match value {
        DeValue::Integer(number) => {
            Err(format!("`{0}` has no unit: write \"{0}s\", \"{0}m\", \"{0}h\" or \"{0}d\"", number.as_str()))
        }
        value => parse_span(text(value)?),
    }
}

/// A span that is not nothing.
fn some_span(value: &DeValue<'_>) -> Read<Duration> {
    let span = span(value)?;
    if span.is_zero() { Err("is no time at all: write at least \"1s\"".to_owned()) } else { Ok(span) }
}

fn rate(value: &DeValue<'_>) -> Read<Rate> {
    match value {
        DeValue::Integer(number) => Err(format!("`{0}` names no time: write \"{0}/s\" or \"{0}/m\"", number.as_str())),
        value => Rate::parse(text(value)?),
    }
}

fn domain(value: &DeValue<'_>) -> Read<Domain> {
    let name = text(value)?;
    if name.contains('*') {
        return Err(format!("`{name}`: names are matched whole; a rule for many hosts is match = {{ mx_suffix = \".example.net\" }}"));
    }
    Domain::parse(name).map_err(|error| error.to_string())
}

fn suffix(value: &DeValue<'_>) -> Read<Matches> {
    let written = text(value)?;
    let suffix = written.strip_prefix('.').unwrap_or(written);
    if suffix.contains('*') {
        return Err(format!("`{written}`: write it without the star, \"{}\"", written.replace('*', "").replace("..", ".")));
    }
    let domain = Domain::parse(suffix).map_err(|error| format!("`{written}` can match no host: {error}"))?;
    Ok(Matches::MxSuffix(format!(".{domain}").into()))
}

fn address(value: &DeValue<'_>) -> Read<IpAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("`{text}` is no IP address: write \"192.0.2.7\""))
}

/// An address with a port, or without one: 53.
fn server(value: &DeValue<'_>) -> Read<SocketAddr> {
    let text = text(value)?;
    let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    text.parse().or_else(|_| bare()).map_err(|_| format!("`{text}` is no resolver: write \"192.0.2.53\" or \"127.0.0.1:5353\""))
}

fn smarthost(value: &DeValue<'_>) -> Read<(RelayHost, u16)> {
    let text = text(value)?;
    let expected = || format!("`{text}` is no smarthost: write \"smtp.relay.example:587\"");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(expected)?;
    Ok((RelayHost::parse(host).map_err(|error| format!("{}: {error}", expected()))?, port))
}

fn tls_mode(value: &DeValue<'_>) -> Read<TlsMode> {
    one_of(value, TlsMode::parse, TlsMode::ALL)
}

fn one_of<T: Copy + std::fmt::Display>(value: &DeValue<'_>, parse: impl Fn(&str) -> Option<T>, all: &[T]) -> Read<T> {
    let text = text(value)?;
    parse(text).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

/// A code may be written as a number.
fn code_text(value: &DeValue<'_>) -> Read<String> {
    if value.is_integer() { whole(value).map(|n| n.to_string()) } else { text(value).map(ToOwned::to_owned) }
}

fn pattern(value: &DeValue<'_>) -> Read<String> {
    let pattern = text(value)?;
    match regex::Regex::new(pattern) {
        Ok(_) => Ok(pattern.to_owned()),
        Err(error) => Err(format!("no regular expression: {}", error.to_string().replace('\n', " "))),
    }
}

//! From the text of a policy file to the policy: each key's type, unit and range. What keys mean together is `check`.

use std::path::PathBuf;

use posthaste_mail::Stage;
use toml::de::DeTable;

use crate::check::check;
use crate::classify::{CodePattern, EnhancedPattern, Rule};
use crate::file::{
    AddressFamily, Egress, EgressName, Matches, OnMissing, Policy, Route, RouteMatch, Shaping, Smarthost, Tls,
};
use crate::limits::Per;
use crate::quota::{Quota, QuotaLimits};
use crate::retry::RetryPolicy;
use crate::section::{Notes, Problem, Section};
use crate::site::SiteName;
use crate::standing::reaction::{Effect, Pattern, Reaction};
use crate::tls::TlsMode;
use crate::values::{
    address, bound, code_text, count, domain, name, one_of, pattern, port, positive, public_url, rate,
    server, share, smarthost, some_span, span, suffix, switch, tenant, text, tls_mode, whole,
};
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
        let (policy, positions) = read(Section::root(table.get_ref(), &notes));
        check(&policy, &positions, &notes);
        let problems = notes.into_problems();
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }
}

/// Every key there is, by reading a file that has none of them: for the test of the reference.
#[cfg(test)]
pub(crate) fn keys() -> Vec<&'static str> {
    let text = "shaping = [{ match = {} }]\nroute = [{ match = {} }]\negress = [{}]\nverdict = [{}]\nreaction = [{}]\nquota.tenant = [{}]";
    let (table, _) = DeTable::parse_recoverable(text);
    let notes = Notes::new(text);
    read(Section::root(table.get_ref(), &notes));
    notes.asked_for()
}

/// Where in its list of the file each rule stands; rules that could not be read are missing from the policy.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    pub(crate) egress: Vec<usize>,
    pub(crate) shaping: Vec<usize>,
    pub(crate) routes: Vec<usize>,
    pub(crate) verdicts: Vec<usize>,
    pub(crate) reactions: Vec<usize>,
}

/// Reads a list of tables, keeping where each stood.
fn read_list<'d, 't, T>(
    root: &mut Section<'d, 't>,
    key: &'static str,
    read: impl Fn(usize, Section<'d, 't>) -> Option<T>,
) -> (Vec<usize>, Vec<T>) {
    let sections = root.tables(key).into_iter().enumerate();
    sections.filter_map(|(n, section)| read(n, section).map(|value| (n, value))).unzip()
}

fn read(mut root: Section<'_, '_>) -> (Policy, Positions) {
    let mut positions = Positions::default();
    let mut policy = Policy::default();
    let mut mta = root.table("mta");
    policy.mta.hostname = mta.get("hostname", domain);
    policy.mta.return_path_domain = mta.get("return_path_domain", domain);
    policy.mta.public_url = mta.get("public_url", public_url);
    mta.done();

    let egress;
    (positions.egress, egress) = read_list(&mut root, "egress", |_, section| read_egress(section));
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
    (positions.shaping, policy.shaping) = read_list(&mut root, "shaping", |_, section| read_shaping(section));
    (positions.routes, policy.routes) = read_list(&mut root, "route", |_, section| read_route(section));
    (positions.verdicts, policy.verdicts) = read_list(&mut root, "verdict", read_verdict);
    (positions.reactions, policy.reactions) = read_list(&mut root, "reaction", read_reaction);

    let mut auth = root.table("auth");
    policy.auth.require_identity = auth.get("require_identity", switch);
    policy.auth.require_alignment = auth.get("require_alignment", switch);
    auth.set("audit_every", &mut policy.auth.audit_every, some_span);
    policy.auth.rotate_after = auth.get("rotate_after", some_span);
    auth.done();

    let mut bulk = root.table("bulk");
    bulk.set("list_unsubscribe", &mut policy.bulk.list_unsubscribe, |v| {
        one_of(v, OnMissing::parse, OnMissing::ALL)
    });
    bulk.done();

    read_keeping(&mut root, &mut policy);
    policy.quota = read_quota(root.table("quota"));
    let mut sandbox = root.table("sandbox");
    sandbox.set("all", &mut policy.sandbox.all, switch);
    sandbox.done();
    root.done();
    (policy, positions)
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
    if let Some(families) =
        section.list("address_families", |v| one_of(v, AddressFamily::parse, AddressFamily::ALL))
    {
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
    let matches =
        section.get("match", |v| if v.as_str() == Some("default") { Ok(None) } else { Ok(Some(())) });
    let matches = match matches {
        None => {
            section.problem(
                "",
                "has no match: write match = \"default\" or match = { domain = \"example.net\" }",
            );
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
    rule.per = section.get("per", |v| one_of(v, Per::parse, Per::ALL));
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
        table.problem(
            "",
            "names more than one thing, and no rule is about both: write one [[shaping]] for each",
        );
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
            section.problem(
                "",
                "has no match: write match = \"default\" or match = { domain = \"example.net\" }",
            );
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
    let code =
        section.list("code", |v| code_text(v).and_then(|t| CodePattern::parse(&t))).unwrap_or_default();
    let enhanced = section.list("enhanced", |v| text(v).and_then(EnhancedPattern::parse)).unwrap_or_default();
    let mx = section
        .list("mx", |v| suffix(v).map(|_| v.as_str().unwrap_or("").to_ascii_lowercase()))
        .unwrap_or_default();
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
    Some(Rule {
        name: rule_name,
        code,
        enhanced,
        mx,
        stage,
        text: patterns,
        unless,
        category: category?,
        scope,
        action,
        suppress,
    })
}

fn read_reaction(n: usize, mut section: Section<'_, '_>) -> Option<Reaction> {
    let reaction_name = section.get("name", name).unwrap_or_else(|| format!("reaction[{n}]"));
    let category =
        section.list("category", |v| one_of(v, Category::parse, Category::ALL)).unwrap_or_default();
    let scope = section.list("scope", |v| one_of(v, Scope::parse, Scope::ALL)).unwrap_or_default();
    let rule = section.list("rule", name).unwrap_or_default();
    let code =
        section.list("code", |v| code_text(v).and_then(|t| CodePattern::parse(&t))).unwrap_or_default();
    let stage = section.list("stage", |v| one_of(v, Stage::parse, &Stage::ALL)).unwrap_or_default();
    let site =
        section.list("site", |v| text(v).map(|t| SiteName::new(&t.to_ascii_lowercase()))).unwrap_or_default();
    let patterns = section.list("text", |v| pattern(v).and_then(|t| Pattern::parse(&t))).unwrap_or_default();
    let counted = section.get("count", count);
    let within = section.get("within", some_span);
    let domains = section.get("domains", count);
    let in_a_row = section.get("in_a_row", |v| v.as_bool().ok_or_else(|| "is true or false".to_owned()));
    let effects = section.list("do", |v| one_of(v, Effect::parse, Effect::ALL));
    let lasts = section.get("for", some_span);
    let probe = section.get("probe", some_span);
    if effects.is_none() && !section.mentions("do") {
        section.problem("", "does nothing: write do = \"halve-rate\", \"suspend\", …, or \"nothing\"");
    }
    section.done();
    Some(Reaction {
        name: reaction_name,
        category,
        scope,
        rule,
        code,
        stage,
        site,
        text: patterns,
        count: counted.unwrap_or(1),
        within,
        domains: domains.unwrap_or(1),
        in_a_row: in_a_row.unwrap_or(false),
        effects: effects?,
        lasts,
        probe,
    })
}

/// `[quota]`, then each tenant's own over it.
fn read_quota(mut section: Section<'_, '_>) -> Quota {
    let mut quota = Quota::default();
    read_quota_keys(&mut section, &mut quota.each);
    for mut own in section.tables("tenant") {
        let name = own.get("name", tenant);
        if name.is_none() && !own.mentions("name") {
            own.problem("", "has no name: write name = \"acme\"");
        }
        let mut limits = quota.each;
        read_quota_keys(&mut own, &mut limits);
        if let Some(name) = name
            && quota.tenants.insert(name, limits).is_some()
        {
            own.problem("name", "stands here a second time: write one [[quota.tenant]] for each tenant");
        }
        own.done();
    }
    section.done();
    quota
}

fn read_quota_keys(section: &mut Section<'_, '_>, limits: &mut QuotaLimits) {
    section.set("recipients_per_minute", &mut limits.per_minute, bound);
    section.set("recipients_per_day", &mut limits.per_day, bound);
    let written =
        ["recipients_per_day", "recipients_per_minute"].into_iter().find(|key| section.mentions(key));
    if let (Some(key), Some(minute), Some(day)) = (written, limits.per_minute, limits.per_day)
        && day < minute
    {
        section
            .problem(key, format!("{day} a day are fewer than {minute} a minute: that one can never hold"));
    }
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

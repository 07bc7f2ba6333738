//! `policy explain`: what would apply to a domain, found the way delivery finds it.

use std::io::Write;

use posthaste_mail::Domain;
use posthaste_policy::file::AddressFamily;
use posthaste_policy::{Explained, Given, Policy, Rate};
use posthaste_route::{AllowPrivate, Config, Families, MailHosts, Resolver, RouteError, Source};
use serde_json::{Value, json};

use super::file::PolicyFile;
use crate::commands::domain;
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Form, Output, print_json};

/// The MX hosts, site, limits, schedule and TLS for a domain, and the rule behind each.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without a policy file: the built-in rules, as they hold once mta.hostname is set.

Examples:
  posthaste policy explain gmail.com
  posthaste policy explain example.net --policy policy.toml --json")]
pub(crate) struct Args {
    /// A recipient domain
    #[arg(value_name = "DOMAIN", value_parser = domain)]
    domain: Domain,
    #[command(flatten)]
    policy: PolicyFile,
    #[command(flatten)]
    output: Output,
}

/// How the hosts were found, or that none were.
enum Hosts {
    /// DNS named them.
    Found(std::sync::Arc<MailHosts>),
    /// The policy names a relay.
    Relay,
    /// The sandbox receiver takes the domain: nobody is asked.
    Sandbox,
    /// DNS named none.
    None(RouteError),
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let mut policy = args.policy.read_or_default()?;
    if args.policy.path().is_none() {
        // Without a name to say only the sandbox is served; what is asked here is what holds with one.
        policy.mta.hostname = Domain::parse("localhost").ok();
    }
    let hosts = look_up(&policy, &args.domain).await?;
    let names: Vec<Domain> = match &hosts {
        Hosts::Found(found) if found.source() == Source::Mx => {
            found.hosts().iter().map(|mx| mx.host.clone()).collect()
        }
        _ => Vec::new(),
    };
    let explained = policy.explain(&args.domain, &names);
    match args.output.form() {
        Form::Json => print_json(&as_json(&explained, &hosts)?)?,
        Form::People => {
            let mut out = anstream::stdout().lock();
            for line in lines(&explained, &hosts) {
                writeln!(out, "{line}")?;
            }
        }
    }
    match hosts {
        Hosts::None(error) if error.is_dns_failure() => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

async fn look_up(policy: &Policy, domain: &Domain) -> Result<Hosts, Failure> {
    if policy.sandbox_only() {
        return Ok(Hosts::Sandbox);
    }
    if policy.route(domain).is_some() {
        return Ok(Hosts::Relay);
    }
    let resolver = Resolver::new(&config(policy)).map_err(Failure::failed)?;
    Ok(resolver.mx(domain).await.map_or_else(Hosts::None, Hosts::Found))
}

/// What the policy says about looking up.
fn config(policy: &Policy) -> Config {
    let families = &policy.smtp.address_families;
    let families = match (families.contains(&AddressFamily::Ipv4), families.contains(&AddressFamily::Ipv6)) {
        (true, true) => Families::Both,
        (false, true) => Families::V6,
        _ => Families::V4,
    };
    let allow_private =
        if policy.smtp.allow_private_addresses { AllowPrivate::Yes } else { AllowPrivate::No };
    Config {
        servers: policy.dns.servers.clone(),
        timeout: policy.dns.timeout,
        families,
        allow_private,
        ..Config::default()
    }
}

fn as_json(explained: &Explained, hosts: &Hosts) -> Result<Value, Failure> {
    let mut shown = serde_json::to_value(explained).map_err(Failure::failed)?;
    let (source, found, problem) = match hosts {
        Hosts::Sandbox => ("sandbox", Vec::new(), Value::Null),
        Hosts::Relay => ("smarthost", Vec::new(), Value::Null),
        Hosts::None(error) => {
            ("none", Vec::new(), json!({"reply": error.reply(), "text": error.to_string()}))
        }
        Hosts::Found(found) => (source_name(found.source()), found.hosts().to_vec(), Value::Null),
    };
    shown["source"] = json!(source);
    shown["mx"] = found.iter().map(|mx| json!({"preference": mx.preference, "host": mx.host})).collect();
    shown["problem"] = problem;
    Ok(shown)
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Mx => "mx",
        Source::Implicit => "implicit",
        Source::Smarthost => "smarthost",
    }
}

fn lines(explained: &Explained, hosts: &Hosts) -> Vec<String> {
    let mut lines = vec![paint(style::STRONG, &explained.domain)];
    lines.extend(host_lines(explained, hosts));
    if matches!(hosts, Hosts::None(_)) {
        return lines;
    }
    lines.push(fact("site", &explained.site, ""));
    lines.push(given("egress", &explained.limits.egress, &explained.limits.egress.value));
    lines.push(given("tls", &explained.tls, explained.tls.value));
    lines.push(String::new());
    lines.extend(limit_lines(explained));
    for lane in &explained.lanes {
        lines.push(String::new());
        lines.push(paint(style::STRONG, format!("  {} mail", lane.lane)));
        let ladder = |list: &[String]| format!("{}, …", list.join(", "));
        let jitter = format!("up to {:.0} % longer", lane.jitter * 100.0);
        lines.push(fact("retry after", ladder(&lane.schedule), &jitter));
        lines.push(fact("throttled", ladder(&lane.throttle), "costs no attempt"));
        lines.push(fact("gives up", &lane.expire_after, ""));
        lines.push(fact(
            "unknown",
            &lane.ambiguous_after,
            "then sends again, after a connection lost at the final dot",
        ));
    }
    lines
}

fn host_lines(explained: &Explained, hosts: &Hosts) -> Vec<String> {
    match hosts {
        Hosts::Sandbox => vec![fact("goes to", "the sandbox receiver", "no MX host is asked for")],
        Hosts::None(error) => {
            let reply = error.reply();
            let (style, what) = if reply.is_permanent() {
                (style::BAD, "mail for it bounces")
            } else {
                (style::WAITING, "mail for it waits and is tried again")
            };
            vec![fact("goes to", paint(style, "nowhere"), what), fact("reply", &reply, "")]
        }
        Hosts::Relay => {
            explained.route.iter().map(|relay| fact("goes to", relay.site(), "[[route]] smarthost")).collect()
        }
        Hosts::Found(found) => {
            let (why, is_mx) = match found.source() {
                Source::Mx => ("", true),
                Source::Implicit => ("no MX records: the domain itself", false),
                Source::Smarthost => ("[[route]]", false),
            };
            let host = |mx: &posthaste_route::MxHost| {
                if is_mx { format!("{:<5} {}", mx.preference, mx.host) } else { mx.host.to_string() }
            };
            let titles = std::iter::once("goes to").chain(std::iter::repeat(""));
            titles.zip(found.hosts()).map(|(title, mx)| fact(title, host(mx), why)).collect()
        }
    }
}

fn limit_lines(explained: &Explained) -> Vec<String> {
    if explained.sandbox {
        return vec![fact("limits", "none", "nothing is paced in the sandbox")];
    }
    let limits = &explained.limits;
    let mut lines = vec![given("rate", &limits.rate, recipients(limits.rate.value))];
    if let Some(start) = limits.start.value {
        lines.push(given(
            "begins at",
            &limits.start,
            format!("{}, and grows until told to slow down", recipients(start)),
        ));
    }
    lines.push(given("burst", &limits.burst, limits.burst.value));
    lines.push(given("connections", &limits.connections, format!("{} at once", limits.connections.value)));
    lines.push(given("", &limits.connection_rate, format!("{} new", limits.connection_rate.value)));
    let messages = format!("{} messages on each", limits.messages_per_connection.value);
    lines.push(given("", &limits.messages_per_connection, messages));
    let recipients = format!("{} a message", limits.recipients_per_message.value);
    lines.push(given("recipients", &limits.recipients_per_message, recipients));
    lines
}

fn recipients(rate: Rate) -> String {
    match rate {
        Rate::Unlimited => "unlimited".to_owned(),
        Rate::Per { .. } => format!("{rate} recipients"),
    }
}

/// `  title        value   (note)`.
fn fact(title: &str, value: impl std::fmt::Display, note: &str) -> String {
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("  {}", paint(style::FAINT, format!("({note})")))
    };
    format!("  {}  {value}{note}", paint(style::FAINT, format!("{title:<12}")))
}

fn given<T>(title: &str, given: &Given<T>, shown: impl std::fmt::Display) -> String {
    fact(title, format!("{:<28}", shown.to_string()), &format!("rule: {}", given.by))
}

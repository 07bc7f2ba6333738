//! `doctor`: what sender domains publish, looked at as receivers do, and the records that mend it.

use std::io::Write;

use anstyle::Style;
use futures::stream::{self, StreamExt};
use posthaste_auth::audit::{Audit, Check, Expected, Severity, audit, published};
use posthaste_auth::{Algorithm, PublicKey};
use posthaste_mail::Domain;
use posthaste_pipeline::identity::{audit_subject, name_servers};
use posthaste_policy::Policy;
use serde_json::{Value, json};

use super::identity;
use super::policy::file::PolicyFile;
use crate::client::{Api, ApiArgs, ApiError, segment};
use crate::commands::domain;
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Output, Table, clean, print_json};

/// Domains audited at once: a name server answers many questions, and waits are what it costs.
const AT_ONCE: usize = 32;

/// Audit sender domains: what is wrong, and the DNS record that mends it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is asked: SPF, DKIM, DMARC, the return path, PTR of our addresses ([[egress]] public_ip in the policy),
MTA-STS, TLS-RPT. Keys are those of the registered identity, if the API answers; else name selectors.

Exit: 0 without errors, 1 with some.

Examples:
  posthaste doctor acme.example --policy policy.toml
  posthaste doctor acme.example --selector s1 --return-path bounces.acme.example
  posthaste doctor --all"
)]
pub(crate) struct Args {
    /// Sender domains
    #[arg(value_parser = domain, value_name = "DOMAIN", required_unless_present = "all")]
    domains: Vec<Domain>,
    /// Every registered domain, as a matrix of domains and checks
    #[arg(long, conflicts_with = "domains")]
    all: bool,
    /// A selector to look at; may be repeated
    #[arg(long = "selector", value_name = "NAME")]
    selectors: Vec<String>,
    /// The domain of MAIL FROM
    #[arg(long, value_parser = domain, value_name = "DOMAIN")]
    return_path: Option<Domain>,
    #[command(flatten)]
    policy: PolicyFile,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

/// A domain with what is known of it.
struct Asked {
    domain: Domain,
    selectors: Vec<(String, Expected)>,
    return_path: Option<Domain>,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let policy = args.policy.read_or_default()?;
    let api = args.api.open()?;
    let asked = asked(&args, &api).await?;
    let dns = name_servers(&policy).map_err(Failure::failed)?;
    let audits = stream::iter(&asked).map(|one| audited(&policy, &dns, one));
    let audits: Vec<Audit> = audits.buffered(AT_ONCE).collect().await;
    match args.output.form() {
        Form::Json => print_json(&json!({ "audits": audits }))?,
        Form::People if args.all => matrix(&audits)?,
        Form::People => audits.iter().try_for_each(show)?,
    }
    let wrong = audits.iter().filter(|audit| audit.worst() == Severity::Error).count();
    match wrong {
        0 => Ok(()),
        wrong => Err(Failure::failed(format!("{wrong} of {} domains have errors", audits.len()))),
    }
}

async fn audited(policy: &Policy, dns: &posthaste_auth::resolver::Asked, one: &Asked) -> Audit {
    let mut egress = Vec::new();
    let mut subject = audit_subject(policy, &one.domain, None, &mut egress);
    subject.selectors.clone_from(&one.selectors);
    subject.return_path = one.return_path.as_ref().or(subject.return_path);
    audit(dns, dns, &subject).await
}

async fn asked(args: &Args, api: &Api) -> Result<Vec<Asked>, Failure> {
    if args.all {
        let found = identity::all(api).await?;
        return Ok(found.iter().filter_map(of_identity).collect());
    }
    let mut asked = Vec::new();
    for domain in &args.domains {
        let named =
            args.selectors.iter().map(|selector| (selector.clone(), Expected::Any)).collect::<Vec<_>>();
        let known = match named.is_empty() {
            true => registered(api, domain).await?,
            false => None,
        };
        let mut one =
            known.unwrap_or_else(|| Asked { domain: domain.clone(), selectors: named, return_path: None });
        one.return_path = args.return_path.clone().or(one.return_path);
        asked.push(one);
    }
    Ok(asked)
}

/// The identity, if there is an API and it has one.
async fn registered(api: &Api, domain: &Domain) -> Result<Option<Asked>, Failure> {
    match api.get(&format!("v1/identities/{}", segment(&domain.to_string())), &[]).await {
        Ok(identity) => Ok(of_identity(&identity)),
        Err(error) if error.is_absent() || matches!(error, ApiError::Unreachable(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn of_identity(identity: &Value) -> Option<Asked> {
    let keys = || identity["keys"].as_array().into_iter().flatten();
    let key = |key: &Value| {
        let algorithm = if key["algorithm"] == "ed25519" { Algorithm::Ed25519 } else { Algorithm::Rsa };
        let public = PublicKey { algorithm, base64: published(key["value"].as_str()?)? };
        let in_use = keys().any(|one| one["state"] == "active" && one["algorithm"] == key["algorithm"]);
        let expected = match key["state"] == "pending" && in_use {
            true => Expected::Next(public),
            false => Expected::Ours(public),
        };
        Some((key["selector"].as_str()?.to_owned(), expected))
    };
    Some(Asked {
        domain: Domain::parse(identity["domain"].as_str()?).ok()?,
        selectors: keys().filter(|key| key["state"] != "retiring").filter_map(key).collect(),
        return_path: identity["return_path"].as_str().and_then(|text| Domain::parse(text).ok()),
    })
}

fn sign(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Ok => ("✓", style::GOOD),
        Severity::Note => ("·", style::FAINT),
        Severity::Unknown => ("?", style::WAITING),
        Severity::Warning => ("!", style::WAITING),
        Severity::Error => ("✗", style::BAD),
    }
}

fn show(audit: &Audit) -> Outcome {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", paint(style::STRONG, &audit.domain))?;
    for finding in &audit.findings {
        let (sign, style) = sign(finding.severity);
        writeln!(out, "  {} {:<12} {}", paint(style, sign), finding.check.as_str(), clean(&finding.seen))?;
        if let Some(mend) = &finding.mend {
            writeln!(out, "    {:<12} {}", "", paint(style::NEWS, clean(mend)))?;
        }
    }
    Ok(())
}

fn matrix(audits: &[Audit]) -> Outcome {
    let mut columns = vec![Column { title: "domain", align: Align::Left }];
    columns.extend(Check::ALL.map(|check| Column { title: check.as_str(), align: Align::Left }));
    let mut table = Table::new(&columns);
    for audit in audits {
        let mut cells = vec![(audit.domain.to_string(), style::STRONG)];
        cells.extend(Check::ALL.map(|check| match audit.of(check) {
            Some(severity) => (format!("{} {}", sign(severity).0, severity.as_str()), sign(severity).1),
            None => ("-".to_owned(), style::FAINT),
        }));
        table.row(cells);
    }
    table.print(&mut anstream::stdout().lock())?;
    Ok(())
}

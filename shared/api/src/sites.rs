//! `/v1/sites`: what receivers are given now, which replies made it so, and what operators order. For operators.

use axum::http::{StatusCode, Uri};
use posthaste_mail::{Domain, Lane, Tenant, Timestamp};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::pacer::{PaceKey, View};
use posthaste_pipeline::view::rfc3339;
use posthaste_policy::span::parse_span;
use posthaste_policy::standing::{Change, Gate, Order, Standing, rate_shown};
use posthaste_policy::{Limits, Place, Policy, Rate, SiteName};
use serde::{Deserialize, Serialize};

use crate::ask::{Ask, json};
use crate::problem::{Answer, Problem};

const PATH: &str = "/v1/sites/";

/// Sites of one page.
const PAGE: usize = 100;
/// Most sites of one page.
const PAGE_MAX: usize = 1_000;
/// Standings looked through for one site.
const LOOKED_AT_MAX: usize = 10_000;
/// Tries to write a standing that deliveries write, too.
const CONTENTION_MAX: usize = 10;
/// Octets of an order.
const BODY_MAX: usize = 4_096;

#[derive(Serialize)]
struct SiteView {
    site: String,
    egress: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<Domain>,
    /// `open`, `slowed`, `growing`, `suspended`.
    state: &'static str,
    rate: String,
    connections: u32,
    messages_per_connection: u32,
    recipients_per_message: u32,
    /// The policy's ceilings, each with its rule.
    limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_rfc3339")]
    until: Option<Timestamp>,
    failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
    senders: Vec<SenderView>,
    changes: Vec<ChangeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<NowView>,
}

#[derive(Serialize)]
struct SenderView {
    domain: Domain,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
}

#[derive(Serialize)]
struct ChangeView {
    #[serde(serialize_with = "rfc3339")]
    at: Timestamp,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    by: String,
}

#[derive(Serialize)]
struct NowView {
    connections: u32,
    waiting: Vec<LineView>,
}

#[derive(Serialize)]
struct LineView {
    lane: Lane,
    tenant: Tenant,
    recipients: u64,
}

#[expect(clippy::ref_option, reason = "serde gives it so")]
fn some_rfc3339<S: serde::Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, to),
        None => to.serialize_none(),
    }
}

impl ChangeView {
    fn of(change: Change) -> Self {
        Self { at: change.at, what: change.what, reply: change.reply, by: change.by }
    }
}

/// What the policy gives at most; the hosts are not looked up here, so a rule by suffix is found by the site's name.
fn limits(policy: &Policy, key: &PaceKey, standing: &Standing) -> Option<Limits> {
    let host = Domain::parse(key.site.as_str().split(['~', ':']).next().unwrap_or_default()).ok();
    let served = standing.domains.first().map(|(domain, _)| domain.clone());
    let domain = served.or_else(|| host.clone())?;
    let hosts: Vec<Domain> = host.into_iter().collect();
    Some(policy.limits(&Place { site: &key.site, hosts: &hosts, domain: &domain }))
}

impl SiteView {
    fn of(
        policy: &Policy,
        key: PaceKey,
        standing: Standing,
        view: Option<View>,
        now: Timestamp,
    ) -> Option<Self> {
        let limits = limits(policy, &key, &standing)?;
        let allowed = standing.allowed(&limits, None, now);
        let (why, until) = match &allowed.gate {
            Gate::Open => (None, None),
            Gate::Probe => (standing.closed.as_ref().map(|closed| closed.why.clone()), None),
            Gate::Closed { until, why } => (Some(why.clone()), Some(*until)),
        };
        let full = standing.allowed(&limits, None, Timestamp::NEVER).connections;
        let state = match &allowed.gate {
            Gate::Closed { .. } | Gate::Probe => "suspended",
            Gate::Open if limits.start.value.is_some() && allowed.a_second < limits.rate.value.a_second() => {
                "growing"
            }
            Gate::Open if standing.rate.is_some() || allowed.connections < full => "slowed",
            Gate::Open => "open",
        };
        let senders = standing.senders.into_iter().map(|(domain, sender)| SenderView {
            domain,
            rate: sender.rate.map(|rate| rate_shown(rate.a_second)),
            held: sender.closed.map(|closed| closed.why),
        });
        Some(Self {
            site: key.site.to_string(),
            egress: key.egress.as_str().to_owned(),
            sender: key.sender,
            state,
            rate: rate_shown(allowed.a_second),
            connections: allowed.connections,
            messages_per_connection: allowed.messages_per_connection,
            recipients_per_message: allowed.recipients_per_message,
            limits,
            why,
            until,
            failures: standing.failures,
            order: standing.order,
            senders: senders.collect(),
            changes: standing.changes.into_iter().map(ChangeView::of).collect(),
            now: view.map(|view| NowView {
                connections: view.seats,
                waiting: view
                    .lines
                    .into_iter()
                    .map(|(lane, tenant, line)| LineView { lane, tenant, recipients: line.waiting() })
                    .collect(),
            }),
        })
    }
}

#[derive(Serialize)]
struct Page {
    sites: Vec<SiteView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /v1/sites`
pub(crate) async fn list(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let query = ask.query()?.only(&["after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let after = query.get("after").filter(|text| !text.is_empty());
    let after: Option<PaceKey> = after
        .map(|text| serde_json::from_str(text).map_err(|_| Problem::field("after", "not a cursor")))
        .transpose()?;
    let found = ask.app.stores.pacer.standings(after.as_ref(), limit).await?;
    let last = found.last().filter(|_| found.len() == limit).map(|(key, _)| key);
    let next = last.and_then(|key| serde_json::to_string(key).ok());
    let (policy, now) = (ask.app.ambient.policy.get(), ask.now());
    let sites =
        found.into_iter().filter_map(|(key, standing)| SiteView::of(&policy, key, standing, None, now));
    json(StatusCode::OK, &Page { sites: sites.collect(), next })
}

/// `GET /v1/sites/{site}`, by its name or by a domain whose mail goes there.
pub(crate) async fn show(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let name = ask.segment(PATH, "")?;
    let keys = keys_of(&ask, &name).await?;
    let (policy, now) = (ask.app.ambient.policy.get(), ask.now());
    let mut sites = Vec::new();
    for key in keys {
        let view = ask.app.stores.pacer.view(&key).await?;
        sites.extend(SiteView::of(&policy, key, view.standing.clone(), Some(view), now));
    }
    // The one that is slowed most comes first: of several egresses it is what somebody looks for.
    let open = |site: &SiteView| site.state == "open";
    sites.sort_by_key(open);
    let mut sites = sites.into_iter();
    let Some(first) = sites.next() else { return Err(unknown(&name)) };
    let others: Vec<SiteView> = sites.collect();
    #[derive(Serialize)]
    struct Shown {
        #[serde(flatten)]
        first: SiteView,
        /// The same site from other egresses, or for sending domains that are counted apart.
        others: Vec<SiteView>,
    }
    json(StatusCode::OK, &Shown { first, others })
}

fn unknown(name: &str) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Problem::not_found(format!("no mail has gone to a site or domain {shown} yet"))
}

/// The keys of a site, or of the site that a domain's mail goes to.
async fn keys_of(ask: &Ask, name: &str) -> Result<Vec<PaceKey>, Problem> {
    let name = name.to_ascii_lowercase();
    let standings = ask.app.stores.pacer.standings(None, LOOKED_AT_MAX).await?;
    let by_site: Vec<PaceKey> =
        standings.iter().filter(|(key, _)| key.site.as_str() == name).map(|(key, _)| key.clone()).collect();
    if !by_site.is_empty() {
        return Ok(by_site);
    }
    let serves = |standing: &Standing| standing.domains.iter().any(|(domain, _)| domain.as_str() == name);
    let by_domain: Vec<PaceKey> =
        standings.into_iter().filter(|(_, standing)| serves(standing)).map(|(key, _)| key).collect();
    if !by_domain.is_empty() {
        return Ok(by_domain);
    }
    let waiting = ask.app.stores.ledger.waiting(None).await?;
    let there = waiting.iter().find(|group| {
        group.site.as_deref() == Some(&name) || group.domain.as_ref().is_some_and(|d| d.as_str() == name)
    });
    let site = there.and_then(|group| group.site.clone());
    Ok(site.map(|site| fresh_keys(ask, &site)).unwrap_or_default())
}

/// The keys of a site that nothing is known of, one an egress.
fn fresh_keys(ask: &Ask, site: &str) -> Vec<PaceKey> {
    let policy = ask.app.ambient.policy.get();
    let named = policy.egress.iter().map(|egress| egress.name.clone());
    let mut egresses: Vec<_> = named.chain([policy.default_egress().name.clone()]).collect();
    egresses.sort();
    egresses.dedup();
    egresses.into_iter().map(|egress| PaceKey { egress, site: SiteName::new(site), sender: None }).collect()
}

/// What an operator writes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    rate: Option<String>,
    connections: Option<u32>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    note: Option<String>,
}

#[derive(Serialize)]
struct Ordered {
    site: String,
    egresses: Vec<String>,
    status: &'static str,
}

/// `POST /v1/sites/{site}:suspend`, `:resume`.
pub(crate) async fn act(mut ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let name = ask.segment(PATH, "")?;
    let wish = wish(&mut ask).await?;
    if let Some(name) = name.strip_suffix(":resume") {
        return change(&ask, name, "open", |standing, now| standing.resumed(now)).await;
    }
    let Some(name) = name.strip_suffix(":suspend") else {
        return Err(Problem::not_found("a site is changed at its path with `:suspend` or `:resume`"));
    };
    if wish.rate.is_some() || wish.connections.is_some() {
        let field = if wish.rate.is_some() { "rate" } else { "connections" };
        return Err(Problem::field(field, "a site that is suspended has none: PUT it instead"));
    }
    let order = Order { suspended: true, ..order(&wish, ask.now())? };
    change(&ask, name, "suspended", move |standing, now| standing.ordered(order.clone(), now)).await
}

/// `PUT /v1/sites/{site}`: numbers that hold whatever the replies say.
pub(crate) async fn set(mut ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let name = ask.segment(PATH, "")?;
    let order = order(&wish(&mut ask).await?, ask.now())?;
    if order.rate.is_none() && order.connections.is_none() {
        return Err(Problem::field("", "orders nothing: give it a rate or connections, or `:resume` it"));
    }
    change(&ask, &name, "ordered", move |standing, now| standing.ordered(order.clone(), now)).await
}

async fn wish(ask: &mut Ask) -> Result<Wish, Problem> {
    let body = ask.read_body(BODY_MAX).await?;
    if body.bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Wish::default());
    }
    serde_json::from_slice(&body.bytes).map_err(|error| Problem::field("", error.to_string()))
}

fn order(wish: &Wish, now: Timestamp) -> Result<Order, Problem> {
    let rate = wish.rate.as_deref().map(Rate::parse).transpose();
    let lasts = wish.lasts.as_deref().map(parse_span).transpose();
    if wish.connections == Some(0) {
        return Err(Problem::field("connections", "none at all is `:suspend`"));
    }
    let note = wish.note.as_ref().map(|note| note.chars().filter(|c| !c.is_control()).take(200).collect());
    Ok(Order {
        suspended: false,
        rate: rate.map_err(|message| Problem::field("rate", message))?,
        connections: wish.connections,
        until: lasts.map_err(|message| Problem::field("for", message))?.map(|lasts| now.plus(lasts)),
        note,
    })
}

/// Changes every standing of a site; one that nothing is known of begins with this.
async fn change(
    ask: &Ask,
    name: &str,
    status: &'static str,
    change: impl Fn(&Standing, Timestamp) -> Standing,
) -> Answer {
    let name = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > 300 || name.chars().any(char::is_whitespace) {
        return Err(unknown(&name));
    }
    let mut keys = keys_of(ask, &name).await?;
    if keys.is_empty() {
        keys = fresh_keys(ask, &name);
    }
    let pacer = &ask.app.stores.pacer;
    for key in &keys {
        let mut written = false;
        for _ in 0..CONTENTION_MAX {
            let standing = pacer.view(key).await?.standing;
            written = pacer.stand(key, &change(&standing, ask.now())).await?;
            if written {
                break;
            }
        }
        if !written {
            return Err(Problem::unavailable("others keep changing this site: ask again"));
        }
    }
    let site = keys.first().map_or(name, |key| key.site.to_string());
    let egresses = keys.iter().map(|key| key.egress.as_str().to_owned()).collect();
    json(StatusCode::OK, &Ordered { site, egresses, status })
}

/// Any other method on a path of one site.
pub(crate) async fn no_method(uri: Uri) -> Problem {
    let acts = uri.path().ends_with(":suspend") || uri.path().ends_with(":resume");
    if acts { Problem::method("POST") } else { Problem::method("GET, PUT") }
}

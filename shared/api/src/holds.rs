//! `/v1/holds`: mail that is not to be tried for now, and mail that is recalled.

use axum::http::{StatusCode, Uri};
use posthaste_mail::{Domain, Lane, MessageId, Tenant, Timestamp};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::holds;
use posthaste_pipeline::stores::{Hold, HoldAction, HoldOn, Sweep};
use posthaste_pipeline::view::rfc3339;
use serde::{Deserialize, Serialize};

use crate::ask::{Ask, json};
use crate::problem::{Answer, Problem};

const PATH: &str = "/v1/holds/";
/// Octets of a hold.
const BODY_MAX: usize = 4_096;
/// Holds there may be at once: each is looked at before every attempt.
const HOLDS_MAX: usize = 1_000;

/// What a caller writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    message: Option<String>,
    tag: Option<String>,
    lane: Option<String>,
    domain: Option<String>,
    site: Option<String>,
    action: Option<String>,
}

#[derive(Serialize)]
struct HoldView<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a Tenant>,
    #[serde(flatten)]
    what: &'a HoldOn,
    action: HoldAction,
    #[serde(serialize_with = "rfc3339")]
    until: Timestamp,
    /// `holding`; `releasing` until all that was parked is on its way; of a recall `recalling`, then `recalled`.
    status: &'static str,
}

impl<'a> HoldView<'a> {
    fn of(hold: &'a Hold) -> Self {
        let status = match (hold.released.is_some(), hold.action, &hold.sweep) {
            (true, ..) => "releasing",
            (false, HoldAction::Hold, _) => "holding",
            (false, HoldAction::Cancel, Sweep::Over) => "recalled",
            (false, HoldAction::Cancel, _) => "recalling",
        };
        let tenant = hold.tenant.as_ref();
        Self { id: &hold.id, tenant, what: &hold.what, action: hold.action, until: hold.until, status }
    }
}

/// `POST /v1/holds`
pub(crate) async fn create(mut ask: Ask) -> Answer {
    let body = ask.read_body(BODY_MAX).await?;
    let wish: Wish =
        serde_json::from_slice(&body.bytes).map_err(|error| Problem::field("", error.to_string()))?;
    let (what, of_operators) = what(&wish)?;
    let action = match wish.action.as_deref() {
        None | Some("hold") => HoldAction::Hold,
        Some("cancel") => HoldAction::Cancel,
        Some(_) => return Err(Problem::field("action", "write \"hold\" or \"cancel\"")),
    };
    // Domains and sites are everybody's, and so is what an operator without a tenant holds.
    let tenant = match of_operators {
        true => {
            ask.caller.need(Scope::Operator)?;
            None
        }
        false if ask.caller.tenant.is_none() => {
            ask.caller.need(Scope::Operator)?;
            None
        }
        false => Some(ask.need(Scope::Send)?.clone()),
    };
    let (ambient, stores) = (&ask.app.ambient, &ask.app.stores);
    if stores.controls.holds().await?.len() >= HOLDS_MAX {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("there are {HOLDS_MAX} holds: release some first"),
        ));
    }
    let hold = holds::put(ambient, stores, tenant, what, action).await?;
    if action == HoldAction::Cancel {
        // The first page at once; the clock goes on with the rest.
        holds::tend_one(ambient, stores, &hold).await?;
    }
    let there = stores.controls.holds().await?.into_iter().find(|there| there.id == hold.id).unwrap_or(hold);
    json(StatusCode::CREATED, &HoldView::of(&there))
}

/// What is held, and whether that is for operators to say.
fn what(wish: &Wish) -> Result<(HoldOn, bool), Problem> {
    let given = [
        ("message", &wish.message),
        ("tag", &wish.tag),
        ("lane", &wish.lane),
        ("domain", &wish.domain),
        ("site", &wish.site),
    ];
    let mut named = given.into_iter().filter_map(|(field, text)| text.as_deref().map(|text| (field, text)));
    let (Some((field, text)), None) = (named.next(), named.next()) else {
        return Err(Problem::field("", "write one of message, tag, lane, domain, site"));
    };
    let wrong = |message: &str| Problem::field(field, message);
    Ok(match field {
        "message" => {
            let id = MessageId::parse(text).ok_or_else(|| wrong("no message id: write \"msg_…\""))?;
            (HoldOn::Message(id), false)
        }
        "tag" => {
            let split = text.split_once(':').filter(|(name, _)| !name.is_empty());
            split.ok_or_else(|| wrong("no tag: write \"release:v42\""))?;
            (HoldOn::Tag(text.to_owned()), false)
        }
        "lane" => {
            let lane = Lane::parse(text).ok_or_else(|| wrong("write \"transactional\" or \"bulk\""))?;
            (HoldOn::Lane(lane), false)
        }
        "domain" => {
            let domain = Domain::parse(text).map_err(|error| wrong(&error.to_string()))?;
            (HoldOn::Domain(domain), true)
        }
        _ if text.is_empty() || text.len() > 300 => return Err(wrong("no site: see `posthaste queue`")),
        _ => (HoldOn::Site(text.to_ascii_lowercase()), true),
    })
}

/// Whether a caller may see a hold: its tenant's, or an operator's.
fn is_theirs(ask: &Ask, hold: &Hold) -> bool {
    ask.caller.may(Scope::Operator) || (hold.tenant.is_some() && hold.tenant == ask.caller.tenant)
}

#[derive(Serialize)]
struct Listed<'a> {
    holds: Vec<HoldView<'a>>,
}

/// `GET /v1/holds`
pub(crate) async fn list(ask: Ask) -> Answer {
    if !ask.caller.may(Scope::Operator) {
        ask.need(Scope::Read)?;
    }
    let mut holds = ask.app.stores.controls.holds().await?;
    holds.retain(|hold| is_theirs(&ask, hold));
    holds.sort_by_key(|hold| std::cmp::Reverse(hold.until));
    json(StatusCode::OK, &Listed { holds: holds.iter().map(HoldView::of).collect() })
}

async fn find(ask: &Ask) -> Result<Hold, Problem> {
    let id = ask.segment(PATH, "")?;
    let holds = ask.app.stores.controls.holds().await?;
    let there = holds.into_iter().find(|hold| hold.id == id && is_theirs(ask, hold));
    there.ok_or_else(|| {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
        Problem::not_found(format!("there is no hold {shown}"))
    })
}

/// `GET /v1/holds/{id}`
pub(crate) async fn show(ask: Ask) -> Answer {
    if !ask.caller.may(Scope::Operator) {
        ask.need(Scope::Read)?;
    }
    json(StatusCode::OK, &HoldView::of(&find(&ask).await?))
}

/// `DELETE /v1/holds/{id}`
pub(crate) async fn release(ask: Ask) -> Answer {
    if !ask.caller.may(Scope::Operator) {
        ask.need(Scope::Send)?;
    }
    let hold = find(&ask).await?;
    let (ambient, stores) = (&ask.app.ambient, &ask.app.stores);
    holds::release_hold(ambient, stores, &hold).await?;
    let released = Hold { released: Some(ask.now()), ..hold };
    // The first page at once; the clock goes on with the rest.
    holds::tend_one(ambient, stores, &released).await?;
    json(StatusCode::OK, &HoldView::of(&released))
}

/// Any other method on a path of one hold.
pub(crate) async fn no_method(_: Uri) -> Problem {
    Problem::method("GET, DELETE")
}

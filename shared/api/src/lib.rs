//! The HTTP API (contract section 2): requests in, use cases called, problems out.
//!
//! What is absent: no decision about mail is made here, nothing is stored here, no socket is opened here; the
//! routes of what is not built yet are unknown here, as any other path. Its invariants: a caller's mistake is
//! never a 500 but a problem that names the field (RFC 9457); a body is read once, within its limit, and all
//! bodies together within another; a page of a foreign origin gets nothing; whoever has no key gets health, the front
//! page, the description and, with a link that we sealed, what it unsubscribes from, and whoever has one gets nothing of another tenant's.

mod api_keys;
mod ask;
mod authority;
mod batch;
mod body;
mod dead_letters;
mod events;
mod feedback;
mod guard;
mod holds;
mod identities;
mod messages;
mod pages;
mod problem;
mod query;
mod queue;
mod sandbox;
mod sites;
mod suppressions;
mod unsubscribe;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post, put};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::Stores;

pub use authority::{Authority, Caller, Denied, KeysNeeded, OpenOnLoopback};
pub use body::Limits;
pub use guard::Names;
pub use posthaste_pipeline::access::Scope;
pub use problem::Problem;
pub use sandbox::{KeptMail, SandboxMail};

/// Everything the API needs.
pub struct App {
    /// Time, chance and policy.
    pub ambient: Ambient,
    /// The store.
    pub stores: Stores,
    /// How much a caller may send.
    pub limits: Limits,
    /// Who may do what.
    pub authority: Arc<dyn Authority>,
    /// Under which names we are asked for.
    pub names: Names,
    /// What the sandbox received, where there is one.
    pub sandbox: Option<SandboxMail>,
}

/// All routes.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    Router::new()
        .route("/v1/messages", get(messages::list).post(messages::submit))
        .route("/v1/messages:batch", post(batch::submit))
        // `{id}` is an id, or an id and `:retry`: a colon cannot begin a part of its own in a pattern.
        .route(
            "/v1/messages/{id}",
            get(messages::show).delete(messages::cancel).post(messages::act).fallback(messages::no_method),
        )
        .route("/v1/uploads", post(uploads::offer))
        .route("/v1/uploads/{id}", put(uploads::receive))
        .route("/v1/queue", get(queue::show))
        .route("/v1/suppressions", get(suppressions::list))
        .route(
            "/v1/suppressions/{address}",
            get(suppressions::show).put(suppressions::put).delete(suppressions::remove),
        )
        .route("/v1/events", get(events::feed))
        .route("/v1/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/v1/api-keys/{id}", delete(api_keys::revoke))
        .route("/v1/dead-letters", get(dead_letters::list))
        // `{job}` is an id and `:redrive`.
        .route("/v1/dead-letters/{job}", post(dead_letters::act).fallback(dead_letters::no_method))
        .route("/v1/holds", get(holds::list).post(holds::create))
        .route("/v1/holds/{id}", get(holds::show).delete(holds::release).fallback(holds::no_method))
        .route("/v1/sites", get(sites::list))
        // `{site}` is a name, or a name and `:suspend` or `:resume`.
        .route(
            "/v1/sites/{site}",
            get(sites::show).put(sites::set).post(sites::act).fallback(sites::no_method),
        )
        .route("/v1/identities", get(identities::list))
        // `{domain}` is a name, or a name and `:verify` or `:rotate`.
        .route(
            "/v1/identities/{domain}",
            get(identities::show)
                .put(identities::put)
                .delete(identities::remove)
                .post(identities::act)
                .fallback(identities::no_method),
        )
        .route("/v1/identities/{domain}/audit", get(identities::audited))
        .route("/v1/identities/{domain}/reports", get(identities::reports))
        .route("/v1/feedback", get(feedback::list).post(feedback::take))
        .route(
            "/u/{token}",
            get(unsubscribe::page).post(unsubscribe::follow).fallback(unsubscribe::no_method),
        )
        .route("/v1/sandbox", delete(sandbox::clear))
        .route("/v1/sandbox/messages", get(sandbox::list).delete(sandbox::delete))
        .route("/v1/sandbox/messages/{id}", get(sandbox::show))
        .route("/v1/sandbox/messages/{id}/raw", get(sandbox::raw))
        .route("/healthz", get(pages::health))
        .route("/openapi.json", get(pages::openapi))
        .route("/", get(pages::front))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::admit))
        .with_state(app)
}

#[cfg(test)]
mod tests;

//! `GET /v1/queue`: what waits, by site and domain, and why.

use axum::http::StatusCode;
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::view::{self, QueueGroup};
use serde::Serialize;

use crate::ask::{Ask, json};
use crate::problem::Answer;

#[derive(Serialize)]
struct Queue<'a> {
    waiting: u64,
    groups: Vec<QueueGroup<'a>>,
}

pub(crate) async fn show(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Read)?;
    ask.query()?.only(&[])?;
    let ledger = &ask.app.stores.ledger;
    let groups = ledger.waiting(Some(tenant)).await?;
    let keys: Vec<_> = groups.iter().map(|group| group.sample.clone()).collect();
    let samples = ledger.read(&keys).await?;
    let policy = ask.app.ambient.policy.get();
    let groups = view::queue(&groups, &samples, &policy, ask.now());
    json(StatusCode::OK, &Queue { waiting: groups.iter().map(|group| group.count).sum(), groups })
}

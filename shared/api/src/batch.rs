//! `POST /v1/messages:batch`: up to 500 submissions in one request, each answered on its own.

use axum::http::StatusCode;
use posthaste_mail::{MessageId, PartKey, Tenant};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::intake::{self, BatchRequest, Key, Mail, Refusal, RequestHash, Submission};
use posthaste_pipeline::row::RowKey;
use serde::Serialize;

use crate::ask::{Ask, json};
use crate::messages::{idempotency_key, unsupported};
use crate::problem::{Answer, Problem};

#[derive(Serialize)]
struct Results {
    results: Vec<One>,
}

#[derive(Serialize)]
struct One {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// `POST /v1/messages:batch`
pub(crate) async fn submit(mut ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Send)?.clone();
    let key = idempotency_key(&ask.parts.headers)?;
    ask.query()?.only(&[])?;
    if ask.content_type() != "application/json" {
        return Err(unsupported("application/json"));
    }
    let body = ask.read_body(ask.app.limits.json_octets).await?;
    let batch = BatchRequest::read(&body.bytes)?;
    let hash = RequestHash::of(&[b"batch", &body.bytes]);
    if let Some(key) = &key {
        unconflicted(&ask, &tenant, key, &hash, batch.messages.len()).await?;
    }
    let mut answers: Vec<Option<Refusal>> = Vec::with_capacity(batch.messages.len());
    let mut submissions = Vec::with_capacity(batch.messages.len());
    for (index, message) in (0_u32..).zip(batch.messages) {
        answers.push(match message {
            Ok(message) => {
                let key = key.clone().map(|key| Key { key, index });
                let mail = Mail::Letter(Box::new(message.or(&batch.defaults)));
                submissions.push(Submission { key, hash: hash.clone(), mail });
                None
            }
            Err(refusal) => Some(refusal),
        });
    }
    let accepted = intake::accept(&ask.app.ambient, &ask.app.stores, &tenant, submissions).await;
    drop(body);
    // The quota is the request's: it is granted whole or not at all.
    let over =
        accepted.iter().find_map(|one| one.as_ref().err().filter(|r| matches!(r, Refusal::OverQuota { .. })));
    if let Some(refusal) = over {
        return Err(refusal.clone().into());
    }
    let mut accepted = accepted.into_iter();
    let results = answers
        .into_iter()
        .map(|refused| match refused {
            Some(refusal) => refuse(refusal),
            None => match accepted.next() {
                Some(Ok(message)) => One {
                    status: StatusCode::ACCEPTED.as_u16(),
                    id: Some(message.id),
                    recipients: Some(message.recipients),
                    problem: None,
                },
                Some(Err(refusal)) => refuse(refusal),
                None => refuse(Refusal::Unavailable),
            },
        })
        .collect();
    json(StatusCode::OK, &Results { results })
}

fn refuse(refusal: Refusal) -> One {
    let problem = Problem::from(refusal);
    One { status: problem.status().as_u16(), id: None, recipients: None, problem: Some(problem) }
}

/// One key covers the request: if any of its places holds a message of another request, nothing is accepted.
async fn unconflicted(
    ask: &Ask,
    tenant: &Tenant,
    key: &str,
    hash: &RequestHash,
    count: usize,
) -> Result<(), Problem> {
    let keys: Vec<RowKey> = (0_u32..)
        .take(count)
        .map(|index| {
            let message = Key { key: key.to_owned(), index }.message_id(tenant);
            RowKey { tenant: tenant.clone(), part: PartKey { message, part: 0 } }
        })
        .collect();
    let rows = ask.app.stores.ledger.read(&keys).await?;
    match rows.iter().flatten().any(|row| row.facts.request_hash != hash.as_str()) {
        true => Err(Refusal::Conflict.into()),
        false => Ok(()),
    }
}

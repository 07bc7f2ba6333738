//! `intake-events`: mail that comes in by the inbound bus, the bucket and the intake queue. All of it comes through one
//! queue, at least once, and each thing has a key derived from where it came from, so that it is one message however
//! often it comes.
//!
//! What is absent: no tenant is read from what a caller wrote. It is the rule's, the prefix's or the queue's.
//! What cannot be accepted goes to the queue of dead letters with its reason, and is told; an outage is waited out.

mod arrival;
mod object;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use lambda_runtime::LambdaEvent;
use posthaste_mail::Tenant;
use posthaste_pipeline::intake::{self, Key, Mail, MailRequest, Refusal, RequestHash, Submission};
use posthaste_pipeline::stores::StoreError;
use serde_json::json;

use crate::aside;
use crate::environment::Environment;
use crate::invocation::Invocation;
use crate::object::Room;
use crate::settings::{IntakeSettings, SettingsError, variable};
use arrival::{Arrival, ObjectArrival};
use object::Unfetched;

/// The function.
pub struct Function {
    environment: Environment,
    intake: IntakeSettings,
    room: Room,
}

/// Something that came and asks to be accepted.
struct Asked {
    tenant: Tenant,
    /// Where it came from, as it is told when it is refused.
    source: String,
    submission: Result<Submission, Refusal>,
}

/// Why a record is not done with.
enum Unfinished {
    /// It comes again.
    Unavailable(String),
}

impl Function {
    /// Reads its settings.
    pub async fn prepare() -> Result<Self, SettingsError> {
        let environment = Environment::prepare().await?;
        Ok(Self { environment, intake: IntakeSettings::read(variable)?, room: Room::default() })
    }

    /// Takes the records of one event in; the answer names those that are to come again.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
    ) -> Result<SqsBatchResponse, lambda_runtime::Error> {
        let invocation = Invocation::begin(&self.environment);
        let mut response = SqsBatchResponse::default();
        let records = event.payload.records;
        if let Err(error) = self.environment.refresh().await {
            tracing::error!(%error, records = records.len(), "nothing can be taken in; it comes again");
            response.set_failures(records.into_iter().filter_map(|record| record.message_id));
            return Ok(response);
        }
        let taken = join_all(records.iter().map(|record| self.take(record))).await;
        for (record, taken) in records.into_iter().zip(taken) {
            if let Err(Unfinished::Unavailable(why)) = taken {
                tracing::warn!(why, "what came in could not be taken in; it comes again");
                response.add_failure(record.message_id.unwrap_or_default());
            }
        }
        invocation.end();
        Ok(response)
    }

    /// One record, to its end.
    async fn take(&self, record: &SqsMessage) -> Result<(), Unfinished> {
        let id = record.message_id.as_deref().unwrap_or_default();
        let body = record.body.as_deref().unwrap_or_default();
        match arrival::read(id, body, &self.intake.tenant) {
            Arrival::Nothing => Ok(()),
            Arrival::Json { tenant, key, source, json } => {
                let submission = letter(key, json.as_bytes());
                self.accept(body, Asked { tenant, source, submission }).await
            }
            Arrival::Objects(objects) => {
                for object in objects {
                    self.take_object(body, object).await?;
                }
                Ok(())
            }
            Arrival::Unreadable { tenant, source, reason } => {
                self.refuse(
                    body,
                    &tenant,
                    &source,
                    &Refusal::Malformed { line: 1, column: 0, detail: reason },
                )
                .await
            }
        }
    }

    async fn take_object(&self, body: &str, object: ObjectArrival) -> Result<(), Unfinished> {
        let limit = self.environment.ambient.policy.get().size.message_bytes;
        let fetched = object::fetch(&self.environment.aws, &object, &self.room, limit).await;
        let ObjectArrival { tenant, place, key, .. } = object;
        // Held until the message is stored: what is read of large objects is bounded all together.
        let (submission, _room) = match fetched {
            Ok((mail, room)) => (object::submission(key, mail), Some(room)),
            Err(Unfetched::Unavailable(why)) => return Err(Unfinished::Unavailable(why)),
            Err(Unfetched::Refused(refusal)) => (Err(refusal), None),
        };
        self.accept(body, Asked { tenant, source: place.to_string(), submission }).await
    }

    /// Accepts it, or puts it aside; done when either is durable.
    async fn accept(&self, body: &str, asked: Asked) -> Result<(), Unfinished> {
        let Asked { tenant, source, submission } = asked;
        let refusal = match submission {
            Err(refusal) => refusal,
            Ok(submission) => {
                let (ambient, stores) = (&self.environment.ambient, self.environment.aws.stores());
                match intake::accept(ambient, &stores, &tenant, vec![submission]).await.pop() {
                    Some(Ok(accepted)) => {
                        tracing::debug!(message_id = %accepted.id, source, "a submission was accepted");
                        return Ok(());
                    }
                    Some(Err(refusal)) => refusal,
                    None => Refusal::Unavailable,
                }
            }
        };
        self.refuse(body, &tenant, &source, &refusal).await
    }

    async fn refuse(
        &self,
        body: &str,
        tenant: &Tenant,
        source: &str,
        refusal: &Refusal,
    ) -> Result<(), Unfinished> {
        // A quota is a wait, too: nobody is there to be told when to come again.
        if matches!(refusal, Refusal::Unavailable | Refusal::OverQuota { .. }) {
            return Err(Unfinished::Unavailable(refusal.to_string()));
        }
        let reason = refusal.to_string();
        tracing::error!(tenant = tenant.as_str(), source, reason, "a submission is refused and put aside");
        let attributes = [("reason", &*reason), ("tenant", tenant.as_str()), ("source", source)];
        let aws = &self.environment.aws;
        let told = async {
            aside::put(aws, &self.intake.dead, body, &attributes).await?;
            aws.tell_refused(&refused(tenant, source, refusal, &self.environment.now().rfc3339())).await
        };
        told.await.map_err(|error: StoreError| Unfinished::Unavailable(error.to_string()))
    }
}

/// A submission in JSON.
fn letter(key: String, json: &[u8]) -> Result<Submission, Refusal> {
    let request = MailRequest::read(json)?;
    Ok(Submission {
        key: Some(Key { key, index: 0 }),
        hash: RequestHash::of(&[b"json", json]),
        mail: Mail::Letter(Box::new(request)),
    })
}

/// What `submission.refused` says; the same thing refused twice has one id.
fn refused(tenant: &Tenant, source: &str, refusal: &Refusal, at: &str) -> serde_json::Value {
    let errors = match refusal {
        Refusal::Invalid(errors) => errors.as_slice(),
        _ => &[],
    };
    let errors: Vec<_> =
        errors.iter().map(|error| json!({"field": error.field, "detail": error.detail})).collect();
    let id = RequestHash::of(&[b"refused", tenant.as_str().as_bytes(), source.as_bytes()]);
    json!({
        "event_id": format!("evt_{}", id.as_str()),
        "type": "submission.refused",
        "tenant": tenant.as_str(),
        "source": source,
        "reason": refusal.to_string(),
        "errors": errors,
        "at": at,
    })
}

#[cfg(test)]
mod tests;

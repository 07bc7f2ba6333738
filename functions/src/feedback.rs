//! `feedback`: reports about mail that was sent. Whatever receives inbound mail for the return path's domain (SES, or any
//! gateway) puts each message into the bucket below `feedback/`; the bucket tells a queue, and the queue calls this.
//!
//! The envelope stands in the object's metadata (`x-amz-meta-rcpt-to`, `x-amz-meta-mail-from`) where the gateway can write
//! it there; else the recipient is looked for in the message's own header, where SES and others write it down.
//!
//! What is absent: nothing is believed for the bucket it came from. A report acts by its token or not at all.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use lambda_runtime::LambdaEvent;
use posthaste_mail::{Address, ReversePath};
use posthaste_pipeline::feedback::{Arrived, REPORT_OCTETS_MAX, Taken, take_in};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::aside;
use crate::environment::Environment;
use crate::invocation::Invocation;
use crate::notified::{self, Notice, Place};
use crate::object::{self, Got, Room, Ungot};
use crate::settings::{FeedbackSettings, SettingsError, variable};

/// Where objects are taken as reports.
const PREFIX: &str = "feedback/";

/// The function.
pub struct Function {
    environment: Environment,
    settings: FeedbackSettings,
    room: Room,
}

/// Why a record is not done with.
enum Undone {
    /// It comes again.
    Unavailable(String),
    /// It never will be.
    Refused(String),
}

impl Function {
    /// Reads its settings.
    pub async fn prepare() -> Result<Self, SettingsError> {
        let environment = Environment::prepare().await?;
        Ok(Self { environment, settings: FeedbackSettings::read(variable)?, room: Room::default() })
    }

    /// Takes the reports of one event in; the answer names the records that are to come again.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
    ) -> Result<SqsBatchResponse, lambda_runtime::Error> {
        let invocation = Invocation::begin(&self.environment);
        let mut response = SqsBatchResponse::default();
        let records = event.payload.records;
        if let Err(error) = self.environment.refresh().await {
            tracing::error!(%error, records = records.len(), "no report can be taken in; they come again");
            response.set_failures(records.into_iter().filter_map(|record| record.message_id));
            return Ok(response);
        }
        let taken = join_all(records.iter().map(|record| self.take(record))).await;
        for (record, taken) in records.into_iter().zip(taken) {
            if let Err(why) = taken {
                tracing::warn!(why, "a report could not be taken in; it comes again");
                response.add_failure(record.message_id.unwrap_or_default());
            }
        }
        invocation.end();
        Ok(response)
    }

    /// One record to its end: done, or put aside; else why it comes again.
    async fn take(&self, record: &SqsMessage) -> Result<(), String> {
        let body = record.body.as_deref().unwrap_or_default();
        let reason = match self.take_all(body).await {
            Ok(()) => return Ok(()),
            Err(Undone::Unavailable(why)) => return Err(why),
            Err(Undone::Refused(reason)) => reason,
        };
        tracing::error!(reason, "a report is refused and put aside");
        let put = aside::put(&self.environment.aws, &self.settings.dead, body, &[("reason", &*reason)]).await;
        put.map_err(|error| error.to_string())
    }

    async fn take_all(&self, body: &str) -> Result<(), Undone> {
        for Notice { place, .. } in notices(body).map_err(Undone::Refused)? {
            if !place.key.starts_with(PREFIX) {
                return Err(Undone::Refused(format!("{place} is not below {PREFIX}")));
            }
            self.take_one(&place).await?;
        }
        Ok(())
    }

    async fn take_one(&self, place: &Place) -> Result<(), Undone> {
        let octets_max = u64::try_from(REPORT_OCTETS_MAX).unwrap_or(u64::MAX);
        let (got, _room) =
            object::get(&self.environment.aws, place, &self.room, octets_max).await.map_err(|ungot| {
                match ungot {
                    Ungot::Unavailable(why) => Undone::Unavailable(why),
                    Ungot::Foreign(why) => Undone::Refused(why),
                    Ungot::Gone => Undone::Refused(format!("{place} is gone")),
                    Ungot::TooLarge { octets } => Undone::Refused(format!("{place} has {octets} octets")),
                }
            })?;
        let stores = self.environment.aws.stores();
        match take_in(&self.environment.ambient, &stores, &arrived(&got)).await {
            Ok(Taken::Kept { id, why }) => {
                tracing::info!(%place, report = id, why, "a report changed nothing")
            }
            Ok(Taken::Reported { domain, id }) => {
                tracing::info!(%place, %domain, report = id, "a receiver has reported")
            }
            Ok(Taken::Bounced { message_id, .. }) => {
                tracing::info!(%place, %message_id, "a delivery has bounced late")
            }
            Ok(Taken::Complained { message_id, .. }) => {
                tracing::info!(%place, %message_id, "a recipient has complained");
            }
            Err(error) => return Err(Undone::Unavailable(error.to_string())),
        }
        Ok(())
    }
}

/// The objects that a record tells of.
fn notices(body: &str) -> Result<Vec<Notice>, String> {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(borrow, rename = "Records")]
        records: Option<&'a RawValue>,
        #[serde(rename = "Event")]
        test: Option<String>,
    }
    let shape: Shape<'_> =
        serde_json::from_str(body).map_err(|error| format!("the notification cannot be read: {error}"))?;
    match (shape.records, shape.test) {
        (Some(records), _) => notified::read(records),
        (None, Some(test)) if test == "s3:TestEvent" => Ok(Vec::new()),
        (None, _) => Err("this is no notification of a bucket".to_owned()),
    }
}

/// An object as a message that came in. An envelope that cannot be read is as none: the header may have another.
fn arrived(got: &Got) -> Arrived<'_> {
    let said =
        |name: &str| got.metadata.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    let rcpt_to = said("rcpt-to").into_iter().flat_map(|list| list.split(',')).map(str::trim);
    Arrived {
        mail_from: said("mail-from").and_then(|text| ReversePath::parse(text.trim()).ok()),
        rcpt_to: rcpt_to.filter_map(|text| Address::parse(text).ok()).collect(),
        token: None,
        by: None,
        raw: &got.octets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_of_objects_or_of_nothing() {
        let check = |body: &str, expected: Result<&[&str], ()>| {
            let read = notices(body).map_err(drop);
            let shown = read.map(|all| all.iter().map(|notice| notice.place.to_string()).collect::<Vec<_>>());
            assert_eq!(
                shown,
                expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
                "{body}"
            );
        };
        let object = r#"{"Records":[{"s3":{"bucket":{"name":"b"},"object":{"key":"feedback/a+b%3D"}}}]}"#;
        check(object, Ok(&["s3://b/feedback/a b="]));
        check(r#"{"Event":"s3:TestEvent"}"#, Ok(&[]));
        check(r#"{"Records":[]}"#, Ok(&[]));
        for wrong in ["", "{}", r#"{"Records":[{}]}"#, r#"{"Event":"other"}"#, "[1]"] {
            check(wrong, Err(()));
        }
    }

    #[test]
    fn an_envelope_is_what_metadata_says_if_it_can_be_read() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let metadata = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let got = Got { octets: bytes::Bytes::new(), content_type: None, metadata };
            let arrived = arrived(&got);
            let to: Vec<String> = arrived.rcpt_to.iter().map(ToString::to_string).collect();
            let from = arrived.mail_from.map_or("-".to_owned(), |from| format!("<{from}>"));
            assert_eq!(format!("{from} {}", to.join(" ")), expected, "{pairs:?}");
        };
        check(&[("mail-from", ""), ("rcpt-to", "a@b.example, c@d.example")], "<> a@b.example c@d.example");
        check(&[("Rcpt-To", "a@b.example"), ("mail-from", "no address")], "- a@b.example");
        check(&[("rcpt-to", "no address")], "- ");
        check(&[], "- ");
    }
}

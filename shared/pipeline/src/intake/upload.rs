//! A submission whose message was uploaded before: `{"upload":"…","envelope":{…}}`.

use std::collections::BTreeMap;

use memchr::memmem;
use posthaste_mail::UploadId;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::raw::RawRequest;
use super::refusal::{FieldError, Refusal};
use super::request::{OneOrMany, read_json};
use super::wishes::shown;

/// `POST /v1/messages` with an upload in place of the letter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    /// Which.
    upload: String,
    /// To whom and how, as in the query of a raw message.
    envelope: EnvelopeRequest,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EnvelopeRequest {
    mail_from: Option<String>,
    rcpt_to: Option<OneOrMany>,
    tags: Option<BTreeMap<String, String>>,
    lane: Option<String>,
    send_at: Option<String>,
    expires_in: Option<String>,
    guarantee: Option<String>,
    tls: Option<String>,
    return_path: Option<String>,
    sandbox: Option<bool>,
}

impl UploadRequest {
    /// Reads the JSON of a submission if it is one of an upload. Other submissions are not parsed for it: hardly any
    /// has the word in it.
    pub fn read(json: &[u8]) -> Result<Option<Self>, Refusal> {
        #[derive(Deserialize)]
        struct Probe {
            upload: Option<IgnoredAny>,
        }
        let named = memmem::find(json, b"\"upload\"").is_some();
        let probe = || serde_json::from_slice::<Probe>(json).ok().and_then(|probe| probe.upload);
        if !named || probe().is_none() {
            return Ok(None);
        }
        read_json(json).map(Some)
    }

    /// The upload it names.
    pub fn id(&self) -> Result<UploadId, Refusal> {
        UploadId::parse(&self.upload).ok_or(Refusal::NoUpload)
    }

    /// The envelope, as of a raw message.
    pub fn into_raw(self) -> Result<RawRequest, Refusal> {
        let envelope = self.envelope;
        let tags = envelope.tags.into_iter().flatten();
        let tag = tags.map(|(name, value)| match name.contains(':') {
            true => {
                Err(FieldError::new(format!("envelope.tags.{}", shown(&name)), "a tag's name has no colon"))
            }
            false => Ok(format!("{name}:{value}")),
        });
        let rcpt_to = match envelope.rcpt_to {
            Some(OneOrMany::One(one)) => vec![one],
            Some(OneOrMany::Many(many)) => many,
            None => Vec::new(),
        };
        Ok(RawRequest {
            mail_from: envelope.mail_from,
            rcpt_to,
            tag: tag.collect::<Result<_, FieldError>>()?,
            lane: envelope.lane,
            send_at: envelope.send_at,
            expires_in: envelope.expires_in,
            guarantee: envelope.guarantee,
            tls: envelope.tls,
            return_path: envelope.return_path,
            sandbox: envelope.sandbox.map(|sandbox| sandbox.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_names_an_upload_or_is_another() {
        let check = |json: &str, expected: Result<bool, &str>| {
            let read = UploadRequest::read(json.as_bytes());
            match (read, expected) {
                (Ok(read), Ok(is_upload)) => assert_eq!(read.is_some(), is_upload, "{json}"),
                (Err(Refusal::Invalid(errors)), Err(field)) => assert_eq!(errors[0].field, field, "{json}"),
                (read, _) => panic!("{json}: {read:?}"),
            }
        };
        check(r#"{"from":"a@b.example"}"#, Ok(false));
        check(r#"{"from":"a@b.example","headers":{"upload":"x"}}"#, Ok(false));
        check(r#"{"upload":null,"from":"a@b.example"}"#, Ok(false));
        check(r#"{"upload":"upl_1","envelope":{"rcpt_to":"a@b.example"}}"#, Ok(true));
        check(r#"{"upload":"upl_1"}"#, Err("envelope"));
        check(r#"{"upload":"upl_1","envelope":{},"text":"t"}"#, Err("text"));
        check(r#"{"upload":"upl_1","envelope":{"to":"a"}}"#, Err("envelope.to"));
        check(r#"{"upload":7,"envelope":{}}"#, Err("upload"));
    }

    #[test]
    fn an_envelope_is_that_of_a_raw_message() {
        let json =
            r#"{"upload":"upl_1","envelope":{"rcpt_to":["a@b.example"],"tags":{"n":"v:w"},"sandbox":true}}"#;
        let request = UploadRequest::read(json.as_bytes()).unwrap().unwrap();
        assert_eq!(request.id(), Err(Refusal::NoUpload));
        let raw = request.into_raw().unwrap();
        assert_eq!((raw.rcpt_to, raw.tag), (vec!["a@b.example".to_owned()], vec!["n:v:w".to_owned()]));
        assert_eq!(raw.sandbox.as_deref(), Some("true"));
        let json = r#"{"upload":"upl_1","envelope":{"tags":{"a:b":"c"}}}"#;
        let refused = UploadRequest::read(json.as_bytes()).unwrap().unwrap().into_raw();
        assert!(matches!(refused, Err(Refusal::Invalid(errors)) if errors[0].field == "envelope.tags.a:b"));
    }
}

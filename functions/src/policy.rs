//! The deployed policy: an object that is looked at again when an invocation begins and the last look is some time ago.
//! A change that is wrong is refused, loudly, and the one before it stays in force. Without an object the built-in policy
//! is in force, which sends nothing but to the sandbox.
//!
//! What is absent: no watch between invocations, since there is no between. A function that never learnt what the policy
//! is does nothing: it must not take the built-in one for it because a bucket was slow.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_smithy_types::error::display::DisplayErrorContext;
use posthaste_mail::Timestamp;
use posthaste_pipeline::ambient::PolicyInForce;
use posthaste_pipeline::deliver::fit_for_work;
use posthaste_policy::Policy;

use crate::settings::ObjectPlace;

/// A look is believed for so long: a change holds within a minute, and a look costs a request.
const BELIEVED_FOR: Duration = Duration::from_secs(30);
/// After a look that failed, so that a bucket that hangs is not waited for in every invocation.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Octets of a policy: a thousand rules take a tenth.
const OCTETS_MAX: i64 = 1 << 20;

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// The version that was seen before.
    Unchanged,
    /// This text, under this tag.
    Text {
        /// What names this version.
        tag: Option<String>,
        /// The policy.
        text: String,
    },
}

/// Why there is no policy to work by.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PolicyError {
    /// It could not be read, and none was read before.
    #[error("the policy cannot be read: {0}")]
    Unreadable(String),
    /// It is wrong, and there was none before it.
    #[error("the policy is wrong: {0}")]
    Wrong(String),
}

/// What is known of the object.
#[derive(Debug, Default)]
struct Known {
    looked_at: Option<Timestamp>,
    /// The version in force or refused; none: the object is absent.
    tag: Option<String>,
    /// Whether a policy is in force that was the deployed one once.
    learnt: bool,
}

/// The deployed policy of one environment.
pub struct DeployedPolicy {
    place: Option<ObjectPlace>,
    known: Mutex<Known>,
}

impl DeployedPolicy {
    /// The policy at this place; none: the built-in one for good.
    pub fn new(place: Option<ObjectPlace>) -> Self {
        Self { place, known: Mutex::default() }
    }

    /// Looks again if the last look is too long ago, and puts in force what is new.
    pub async fn refresh(
        &self,
        s3: &aws_sdk_s3::Client,
        in_force: &PolicyInForce,
        now: Timestamp,
    ) -> Result<(), PolicyError> {
        let Some(place) = &self.place else { return Ok(()) };
        let Some(tag) = self.due(now) else { return Ok(()) };
        match look(s3, place, tag).await {
            Ok(found) => self.learn(found, in_force, now),
            Err(why) => self.failed(why, now),
        }
    }

    /// Whether it is time to look, and for which version not.
    fn due(&self, now: Timestamp) -> Option<Option<String>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.learnt
            && known
                .looked_at
                .is_some_and(|looked_at| looked_at <= now && now.since(looked_at) < BELIEVED_FOR);
        (!fresh).then(|| known.tag.clone())
    }

    /// Puts in force what was found.
    fn learn(&self, found: Found, in_force: &PolicyInForce, now: Timestamp) -> Result<(), PolicyError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.looked_at = Some(now);
        match found {
            Found::Unchanged => {}
            Found::Absent => {
                if known.tag.take().is_some() {
                    tracing::error!(
                        "the policy was removed: only the sandbox is served until there is another"
                    );
                    in_force.replace(Policy::default());
                }
                known.learnt = true;
            }
            Found::Text { tag, text } => {
                known.tag = tag;
                match read(&text) {
                    Ok(policy) => {
                        for warning in policy.warnings() {
                            tracing::warn!("policy: {warning}");
                        }
                        in_force.replace(policy);
                        known.learnt = true;
                        tracing::info!("the deployed policy is in force");
                    }
                    Err(why) if known.learnt => {
                        tracing::error!(why, "the changed policy is refused; the old one stays in force");
                    }
                    Err(why) => {
                        known.tag = None;
                        return Err(PolicyError::Wrong(why));
                    }
                }
            }
        }
        Ok(())
    }

    fn failed(&self, why: String, now: Timestamp) -> Result<(), PolicyError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.learnt {
            return Err(PolicyError::Unreadable(why));
        }
        tracing::warn!(why, "the policy could not be looked at; the known one stays in force");
        known.looked_at = Some(Timestamp(now.plus(AFTER_FAILURE).0).minus(BELIEVED_FOR));
        Ok(())
    }
}

/// Reads a policy and sees whether it can be put to work.
fn read(text: &str) -> Result<Policy, String> {
    let policy = Policy::parse(text)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    fit_for_work(&policy).map_err(|error| error.to_string())?;
    Ok(policy)
}

async fn look(s3: &aws_sdk_s3::Client, place: &ObjectPlace, tag: Option<String>) -> Result<Found, String> {
    /// RFC 9110 15.4.5.
    const NOT_MODIFIED: u16 = 304;
    let got = s3.get_object().bucket(&place.bucket).key(&place.key).set_if_none_match(tag).send().await;
    let got = match got {
        Ok(got) => got,
        Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == NOT_MODIFIED) => {
            return Ok(Found::Unchanged);
        }
        Err(error) if matches!(error.as_service_error(), Some(GetObjectError::NoSuchKey(_))) => {
            return Ok(Found::Absent);
        }
        Err(error) => return Err(DisplayErrorContext(error).to_string()),
    };
    if got.content_length.is_some_and(|octets| octets > OCTETS_MAX) {
        return Err(format!("it has more than {OCTETS_MAX} octets"));
    }
    let tag = got.e_tag;
    let octets = got.body.collect().await.map_err(|error| error.to_string())?.to_vec();
    let text = String::from_utf8(octets).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(Found::Text { tag, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn text(tag: &str, text: &str) -> Found {
        Found::Text { tag: Some(tag.to_owned()), text: text.to_owned() }
    }

    fn named(hostname: &str) -> String {
        format!("[mta]\nhostname = \"{hostname}\"\n")
    }

    fn hostname(in_force: &PolicyInForce) -> Option<String> {
        in_force.get().mta.hostname.as_ref().map(ToString::to_string)
    }

    fn deployed() -> (DeployedPolicy, PolicyInForce) {
        let place = ObjectPlace { bucket: "b".to_owned(), key: "policy.toml".to_owned() };
        (DeployedPolicy::new(Some(place)), PolicyInForce::new(Policy::default()))
    }

    #[test]
    fn what_is_wrong_is_refused_and_the_old_one_stays() {
        let (policy, in_force) = deployed();
        policy.learn(text("1", &named("a.example")), &in_force, NOW).unwrap();
        policy.learn(text("2", "[mta]\nhostnaem = \"b.example\"\n"), &in_force, NOW).unwrap();
        assert_eq!(hostname(&in_force).as_deref(), Some("a.example"));
        // It is not read again until it is another one.
        assert_eq!(policy.due(NOW.plus(BELIEVED_FOR)), Some(Some("2".to_owned())));
        policy.learn(text("3", &named("c.example")), &in_force, NOW).unwrap();
        assert_eq!(hostname(&in_force).as_deref(), Some("c.example"));
    }

    #[test]
    fn a_policy_that_names_what_is_not_there_is_wrong() {
        let (policy, in_force) = deployed();
        policy.learn(text("1", &named("a.example")), &in_force, NOW).unwrap();
        let unfit = format!("{}[tls]\nca_file = \"/nowhere/roots.pem\"\n", named("b.example"));
        policy.learn(text("2", &unfit), &in_force, NOW).unwrap();
        assert_eq!(hostname(&in_force).as_deref(), Some("a.example"));
    }

    #[test]
    fn without_a_policy_known_nothing_is_done() {
        let (policy, in_force) = deployed();
        assert!(matches!(policy.failed("slow".to_owned(), NOW), Err(PolicyError::Unreadable(_))));
        assert!(matches!(policy.learn(text("1", "nonsense"), &in_force, NOW), Err(PolicyError::Wrong(_))));
        assert_eq!(policy.due(NOW), Some(None), "asked again at once");
        policy.learn(Found::Absent, &in_force, NOW).unwrap();
        assert!(in_force.get().sandbox_only());
        policy.failed("slow".to_owned(), NOW).unwrap();
    }

    #[test]
    fn a_look_is_believed_for_a_while() {
        let (policy, in_force) = deployed();
        assert_eq!(policy.due(NOW), Some(None));
        policy.learn(text("1", &named("a.example")), &in_force, NOW).unwrap();
        assert_eq!(policy.due(NOW.plus(BELIEVED_FOR - Duration::from_millis(1))), None);
        let later = NOW.plus(BELIEVED_FOR);
        assert_eq!(policy.due(later), Some(Some("1".to_owned())));
        policy.failed("slow".to_owned(), later).unwrap();
        assert_eq!(policy.due(later.plus(AFTER_FAILURE - Duration::from_millis(1))), None);
        assert_eq!(policy.due(later.plus(AFTER_FAILURE)), Some(Some("1".to_owned())));
        // A clock that went back has not looked yet.
        policy.learn(Found::Unchanged, &in_force, later).unwrap();
        assert!(policy.due(NOW).is_some());
    }

    #[test]
    fn a_policy_that_was_removed_leaves_the_sandbox() {
        let (policy, in_force) = deployed();
        policy.learn(text("1", &named("a.example")), &in_force, NOW).unwrap();
        policy.learn(Found::Absent, &in_force, NOW).unwrap();
        assert!(in_force.get().sandbox_only());
    }
}

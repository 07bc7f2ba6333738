//! What a function is told by its environment, as the template writes it.

use posthaste_aws::{Missing, Names};
use posthaste_mail::Tenant;
use posthaste_policy::file::EgressName;

/// Why a function cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A variable is not there.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A variable does not say what it should.
    #[error("{variable} is `{value}`: {expected}")]
    Wrong {
        /// Which.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What it should say.
        expected: String,
    },
}

/// What every function is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the deployment's parts are called.
    pub names: Names,
    /// The stack, which metrics are told apart by.
    pub stack: String,
    /// Where the policy is; none: the built-in one.
    pub policy: Option<ObjectPlace>,
}

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPlace {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

impl ObjectPlace {
    /// Reads `s3://bucket/key`.
    fn parse(url: &str) -> Option<Self> {
        let (bucket, key) = url.strip_prefix("s3://")?.split_once('/')?;
        let whole = !bucket.is_empty() && !key.is_empty();
        whole.then(|| Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

/// What a deliver function is told beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSettings {
    /// The lane: `transactional`, `bulk` or `slow`.
    pub lane: &'static str,
    /// Its queue, by URL.
    pub queue: String,
    /// Its queue of dead letters, by URL.
    pub dead: String,
    /// How its mail leaves, as in the policy's `[[egress]]`.
    pub egress: EgressName,
}

/// What the intake of events is told beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeSettings {
    /// Its queue, by URL.
    pub queue: String,
    /// Its queue of dead letters, by URL.
    pub dead: String,
    /// Whose mail comes without a rule or a prefix that says whose it is.
    pub tenant: Tenant,
}

/// What takes reports in is told beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackSettings {
    /// Its queue of dead letters, by URL.
    pub dead: String,
}

impl FeedbackSettings {
    /// As [`Settings::read`].
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        const DEAD: &str = "POSTHASTE_DEAD_REPORTS";
        Ok(Self { dead: variable(DEAD).ok_or(Missing(DEAD))? })
    }
}

/// A variable of this process.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Settings {
    /// Reads them with a look-up of variables, as [`variable`] is.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        const POLICY: &str = "POSTHASTE_POLICY";
        let policy = match variable(POLICY) {
            None => None,
            Some(value) => Some(ObjectPlace::parse(&value).ok_or_else(|| SettingsError::Wrong {
                variable: POLICY,
                value,
                expected: "expected s3://bucket/key".to_owned(),
            })?),
        };
        let stack = variable("POSTHASTE_STACK").unwrap_or_else(|| "posthaste".to_owned());
        Ok(Self { names: Names::read(variable)?, stack, policy })
    }
}

impl LaneSettings {
    /// As [`Settings::read`].
    pub fn read(names: &Names, variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        const LANE: &str = "POSTHASTE_LANE";
        let said = variable(LANE).ok_or(Missing(LANE))?;
        let [transactional_dead, bulk_dead, slow_dead] = &names.dead;
        let lanes = [
            ("transactional", &names.transactional, transactional_dead),
            ("bulk", &names.bulk, bulk_dead),
            ("slow", &names.slow, slow_dead),
        ];
        let Some((lane, queue, dead)) = lanes.into_iter().find(|(lane, ..)| *lane == said) else {
            let expected = "expected transactional, bulk or slow".to_owned();
            return Err(SettingsError::Wrong { variable: LANE, value: said, expected });
        };
        let egress = variable("POSTHASTE_EGRESS").unwrap_or_else(|| "default".to_owned());
        Ok(Self { lane, queue: queue.clone(), dead: dead.clone(), egress: EgressName::new(&egress) })
    }
}

impl IntakeSettings {
    /// As [`Settings::read`].
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        const TENANT: &str = "POSTHASTE_INTAKE_TENANT";
        let needed = |name: &'static str| variable(name).ok_or(Missing(name));
        let tenant = match variable(TENANT) {
            None => Tenant::default_tenant(),
            Some(value) => Tenant::parse(&value).ok_or_else(|| SettingsError::Wrong {
                variable: TENANT,
                value,
                expected: "expected 1 to 64 of a-z, 0-9, - and _".to_owned(),
            })?,
        };
        let (queue, dead) = (needed("POSTHASTE_QUEUE_INTAKE")?, needed("POSTHASTE_DEAD_INTAKE")?);
        Ok(Self { queue, dead, tenant })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn variables(more: &[(&str, &str)]) -> HashMap<String, String> {
        let needed = [
            "TABLE",
            "BUCKET",
            "QUEUE_TRANSACTIONAL",
            "QUEUE_BULK",
            "QUEUE_SLOW",
            "DEAD_TRANSACTIONAL",
            "DEAD_BULK",
            "DEAD_SLOW",
        ];
        let needed = needed.iter().map(|name| (format!("POSTHASTE_{name}"), name.to_lowercase()));
        needed.chain(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }

    #[test]
    fn the_policy_is_an_object() {
        let check = |value: &str, expected: Option<(&str, &str)>| {
            let variables = variables(&[("POSTHASTE_POLICY", value)]);
            let read = Settings::read(|name| variables.get(name).cloned());
            let place = read.ok().and_then(|settings| settings.policy);
            assert_eq!(place.as_ref().map(|place| (&*place.bucket, &*place.key)), expected, "{value}");
        };
        check("s3://b/policy.toml", Some(("b", "policy.toml")));
        check("s3://b/a/policy.toml", Some(("b", "a/policy.toml")));
        for wrong in ["policy.toml", "s3://b", "s3://b/", "s3:///policy.toml", "https://b/policy.toml"] {
            check(wrong, None);
        }
        let variables = variables(&[]);
        assert_eq!(Settings::read(|name| variables.get(name).cloned()).unwrap().policy, None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut variables = variables(&[]);
        variables.remove("POSTHASTE_BUCKET");
        let error = Settings::read(|name| variables.get(name).cloned()).unwrap_err();
        assert!(error.to_string().contains("POSTHASTE_BUCKET"), "{error}");
    }

    #[test]
    fn a_lane_has_its_queue_and_its_dead_letters() {
        let check = |lane: &str, expected: Option<(&str, &str)>| {
            let variables = variables(&[("POSTHASTE_LANE", lane), ("POSTHASTE_EGRESS", "two")]);
            let look = |name: &str| variables.get(name).cloned();
            let read = LaneSettings::read(&Names::read(look).unwrap(), look);
            let queues = read.as_ref().ok().map(|lane| (&*lane.queue, &*lane.dead));
            assert_eq!(queues, expected, "{lane}");
        };
        check("transactional", Some(("queue_transactional", "dead_transactional")));
        check("bulk", Some(("queue_bulk", "dead_bulk")));
        check("slow", Some(("queue_slow", "dead_slow")));
        check("fast", None);
    }

    #[test]
    fn the_intake_has_a_tenant() {
        let check = |tenant: &str, expected: Option<&str>| {
            let queues = [("POSTHASTE_QUEUE_INTAKE", "q"), ("POSTHASTE_DEAD_INTAKE", "d")];
            let variables = variables(&[queues[0], queues[1], ("POSTHASTE_INTAKE_TENANT", tenant)]);
            let read =
                IntakeSettings::read(|name| variables.get(name).cloned().filter(|value| !value.is_empty()));
            assert_eq!(read.ok().as_ref().map(|intake| intake.tenant.as_str()), expected, "{tenant}");
        };
        check("acme", Some("acme"));
        check("", Some("default"));
        check("No Tenant", None);
    }
}

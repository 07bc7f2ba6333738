//! A receiver as those who connect to it meet it, and what it may be given at most.

use std::sync::Arc;

use posthaste_mail::Domain;
use posthaste_policy::{Limits, Policy, SiteName};

use super::paces::Paced;

/// A receiver as connections to one host meet it.
#[derive(Clone)]
pub(super) struct Place {
    /// What is known of its pace; none in the sandbox.
    pub paced: Option<Arc<Paced>>,
    pub(super) terms: Arc<Terms>,
}

/// What a receiver may be given at most, and by which policy.
pub(super) struct Terms {
    pub policy: Arc<Policy>,
    pub limits: Arc<Limits>,
    pub site: SiteName,
    pub hosts: Vec<Domain>,
    pub domain: Domain,
}

impl Place {
    /// What it may be given at most under the policy in force: what stands in hand was let in under an older one.
    pub fn limits(&self, policy: &Arc<Policy>) -> Arc<Limits> {
        let terms = &self.terms;
        if Arc::ptr_eq(&terms.policy, policy) {
            return terms.limits.clone();
        }
        let place = posthaste_policy::Place { site: &terms.site, hosts: &terms.hosts, domain: &terms.domain };
        Arc::new(policy.limits(&place))
    }
}

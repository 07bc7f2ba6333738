//! The first row of a submission: its only part, or the head of several.

use std::sync::Arc;

use posthaste_mail::{Address, MessageId, PartKey, Tenant, Timestamp};

use crate::row::{Cancel, Dot, Facts, PART_RECIPIENTS_MAX, PartPlan, Promise, Recipient, Row, State};

/// What a submission becomes.
pub type Plan = Vec<PartPlan>;

/// Recipients by domain, in the order in which the domains first appear, at most 100 to a part.
pub fn plan(recipients: &[Address]) -> Plan {
    let mut parts: Vec<PartPlan> = Vec::new();
    // The last part of each domain takes the next recipient until it is full.
    let mut open: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for address in recipients {
        let domain = address.domain();
        match open.get(domain.as_str()).filter(|at| parts[**at].recipients.len() < PART_RECIPIENTS_MAX) {
            Some(at) => parts[*at].recipients.push(address.clone()),
            None => {
                open.insert(domain.as_str(), parts.len());
                parts.push(PartPlan { domain: domain.clone(), recipients: vec![address.clone()] });
            }
        }
    }
    parts
}

impl Row {
    /// The row that acceptance writes: due at `send_at` or now, and its wait already decided.
    pub fn accepted(message: MessageId, tenant: Tenant, facts: Facts, recipients: &[Address]) -> Self {
        let now = facts.accepted_at;
        let due = facts.send_at.unwrap_or(now).max(now);
        let expires = due.plus(std::time::Duration::from_millis(facts.lifetime_ms));
        let mut parts = plan(recipients);
        let (domain, recipients) = if parts.len() == 1 {
            let only = parts.remove(0);
            (Some(only.domain), only.recipients)
        } else {
            (None, Vec::new())
        };
        let mut row = Self {
            key: PartKey { message, part: 0 },
            tenant,
            version: 1,
            facts: Arc::new(facts),
            domain,
            parts,
            state: State::Queued,
            seq: 1,
            claim: 0,
            by: None,
            lease: Timestamp::default(),
            due,
            promise: Promise::Job,
            wake: None,
            expires,
            crashes: 0,
            hold: None,
            cancel: Cancel::No,
            dot: Dot::Before,
            ticket: None,
            site: None,
            settlements: Vec::new(),
            recipients: recipients.into_iter().map(|address| Recipient::new(address, due)).collect(),
        };
        row.wait_until(due, now);
        row
    }

    /// The row of one part of this head, as it is when it is split off.
    pub(crate) fn part(&self, number: usize, now: Timestamp) -> Option<Self> {
        let plan = self.parts.get(number.checked_sub(1)?)?;
        let mut row = Self {
            key: PartKey { message: self.key.message.clone(), part: u16::try_from(number).ok()? },
            version: 1,
            domain: Some(plan.domain.clone()),
            parts: Vec::new(),
            state: State::Queued,
            seq: 1,
            claim: 0,
            by: None,
            lease: Timestamp::default(),
            hold: None,
            settlements: Vec::new(),
            recipients: plan.recipients.iter().map(|a| Recipient::new(a.clone(), self.due)).collect(),
            ..self.clone()
        };
        row.wait_until(self.due.max(now), now);
        Some(row)
    }
}

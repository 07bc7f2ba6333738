//! The messages of the demo and what is announced of each.

use crate::client::view::{Message, Status};

/// One message.
#[derive(Debug)]
pub(super) struct Role {
    /// Its recipient; the local part is the sandbox's script.
    pub(super) to: &'static str,
    /// Its subject.
    pub(super) subject: &'static str,
    /// Its tag, `demo:…`.
    pub(super) tag: &'static str,
    /// How long it may live, if not as long as usual.
    pub(super) expires_in: Option<&'static str>,
    /// Sent when this one has ended.
    pub(super) after: Option<usize>,
    /// What will become of it, in words.
    pub(super) announced: &'static str,
    /// The same in the API's.
    end: Status,
    /// What each attempt comes to.
    attempts: Attempts,
}

/// What attempts come to, as the verdicts' actions.
#[derive(Debug)]
enum Attempts {
    /// These, in order.
    Exactly(&'static [&'static str]),
    /// Some, all like this.
    Only(&'static str),
}

/// All of them, in order.
pub(super) static CAST: [Role; 6] = [
    Role {
        to: "success@example.net",
        subject: "Your receipt",
        tag: "delivered",
        expires_in: None,
        after: None,
        announced: "delivered at once",
        end: Status::Delivered,
        attempts: Attempts::Exactly(&["deliver"]),
    },
    Role {
        to: "defer-2@example.org",
        subject: "Welcome",
        tag: "deferred",
        expires_in: None,
        after: None,
        announced: "deferred twice by a greylist, then delivered",
        end: Status::Delivered,
        attempts: Attempts::Exactly(&["retry", "retry", "deliver"]),
    },
    Role {
        to: "bounce@example.com",
        subject: "Hello?",
        tag: "bounced",
        expires_in: None,
        after: None,
        announced: "bounced: no such mailbox, so it is suppressed from now on",
        end: Status::Bounced,
        attempts: Attempts::Exactly(&["bounce"]),
    },
    Role {
        to: "throttle-2@example.edu",
        subject: "Our news",
        tag: "throttled",
        expires_in: None,
        after: None,
        announced: "throttled twice, then delivered; a throttle costs no attempt",
        end: Status::Delivered,
        attempts: Attempts::Exactly(&["slow", "slow", "deliver"]),
    },
    Role {
        to: "mailbox-full@example.info",
        subject: "Your code is 123456",
        tag: "expired",
        expires_in: Some("6s"),
        after: None,
        announced: "deferred, and expired after the 6 seconds it was given",
        end: Status::Expired,
        attempts: Attempts::Only("retry"),
    },
    Role {
        to: "bounce@example.com",
        subject: "Hello again?",
        tag: "suppressed",
        expires_in: None,
        after: Some(2),
        announced: "suppressed: sent after message 3 bounced, nobody is asked again",
        end: Status::Suppressed,
        attempts: Attempts::Exactly(&[]),
    },
];

impl Role {
    /// Whether it came as announced.
    pub(super) fn is_played(&self, message: &Message) -> bool {
        let [recipient] = message.recipients.as_slice() else { return false };
        // What ended without a host being asked is told by the status.
        let asked = recipient.attempts.iter().filter(|attempt| attempt.host.is_some());
        let actions: Vec<&str> = asked.map(|attempt| attempt.action.as_str()).collect();
        let attempted = match &self.attempts {
            Attempts::Exactly(expected) => actions == *expected,
            Attempts::Only(expected) => {
                !actions.is_empty() && actions.iter().all(|action| action == expected)
            }
        };
        recipient.status == self.end && attempted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_played_only_with_its_end_and_its_attempts() {
        let check = |role: usize, status: &str, actions: &[&str], expected: bool| {
            let attempts: Vec<_> = actions
                .iter()
                .map(|action| serde_json::json!({"action": action, "host": "mx.example"}))
                .collect();
            let message = serde_json::json!({"id": "msg_1", "recipients": [
                {"address": CAST[role].to, "status": status, "attempts": attempts}]});
            let message: Message = serde_json::from_value(message).unwrap();
            assert_eq!(CAST[role].is_played(&message), expected, "{role} {status} {actions:?}");
        };
        check(0, "delivered", &["deliver"], true);
        check(0, "delivered", &["retry", "deliver"], false);
        check(0, "bounced", &["bounce"], false);
        check(4, "expired", &["retry", "retry"], true);
        check(4, "expired", &[], false);
        check(5, "suppressed", &[], true);
        check(5, "suppressed", &["bounce"], false);
    }
}

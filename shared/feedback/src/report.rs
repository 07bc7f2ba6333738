//! What a report says, in the words of the API.

use posthaste_policy::Category;
use serde::Serialize;

/// What a message that came in is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Report {
    /// What became of mail to some recipients.
    Dsn(Dsn),
    /// A recipient's complaint, or another feedback report (RFC 5965).
    Complaint(Complaint),
    /// A DMARC aggregate report (RFC 7489 7.2).
    Dmarc(Periodic),
    /// A TLS report (RFC 8460).
    TlsRpt(Periodic),
    /// A machine answers for a person who is away.
    AutoReply,
    /// Nothing of these.
    Other,
}

/// A delivery status notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dsn {
    /// What it says of each recipient; never empty.
    pub recipients: Vec<Failure>,
    /// The Message-ID of the message it is about, without angle brackets, where that came back.
    pub original_message_id: Option<String>,
}

/// What became of mail to one recipient, by a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The recipient as we wrote it, where the report says so (Original-Recipient, RFC 3464 2.3.1), else as it names it.
    pub address: String,
    /// Where it went in the end, if that is another address: it was forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_address: Option<String>,
    /// What happened.
    pub action: DeliveryAction,
    /// The enhanced status code (RFC 3463), its own or the one in its text.
    pub status: Option<String>,
    /// Why, in the words of whoever refused.
    pub diagnostic: Option<String>,
    /// What it is about.
    pub category: Category,
}

/// What a report says was done (RFC 3464 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryAction {
    /// It was given up.
    Failed,
    /// Not yet; it goes on trying.
    Delayed,
    /// It arrived.
    Delivered,
    /// It went on to a host that reports nothing.
    Relayed,
    /// It went on to other addresses.
    Expanded,
}

impl DeliveryAction {
    /// The word of RFC 3464.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let word = text.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| !word.is_empty())?;
        match word.to_ascii_lowercase().as_str() {
            "failed" | "failure" | "fail" | "expired" => Some(Self::Failed),
            "delayed" | "delay" | "deferred" => Some(Self::Delayed),
            "delivered" | "deliverable" => Some(Self::Delivered),
            "relayed" => Some(Self::Relayed),
            "expanded" => Some(Self::Expanded),
            _ => None,
        }
    }
}

/// A feedback report about one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// `abuse`, `fraud`, `not-spam`, `virus`, `auth-failure` (RFC 6591), `opt-out`; whatever it says, in lower case.
    pub feedback_type: String,
    /// Those the message was for, where the report does not hide them.
    pub recipients: Vec<String>,
    /// The MAIL FROM of the message, which may carry our token.
    pub original_mail_from: Option<String>,
    /// Its Message-ID, without angle brackets.
    pub original_message_id: Option<String>,
    /// The address it came from.
    pub source_ip: Option<String>,
    /// When the reporter got it, as written.
    pub arrival_date: Option<String>,
    /// What wrote the report.
    pub user_agent: Option<String>,
}

/// A report over a period; the message's header tells what it is about, the attachment is another reader's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Periodic {
    /// The domain it is about.
    pub domain: Option<String>,
    /// Who wrote it.
    pub submitter: Option<String>,
    /// The writer's name for it.
    pub report_id: Option<String>,
}

/// What a report says of a recipient, before it is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) address: String,
    pub(crate) final_address: Option<String>,
    pub(crate) action: Option<DeliveryAction>,
    pub(crate) status: Option<String>,
    pub(crate) diagnostic: Option<String>,
    /// The host that refused it.
    pub(crate) host: Option<String>,
    /// What the report says of it in prose, best first.
    pub(crate) passages: Vec<String>,
}

//! The modelled receiver: what each mailbox does is in its name, and what it took is remembered.

use std::collections::BTreeMap;
use std::sync::Mutex;

use posthaste_mail::{PartKey, Reply, Stage, Timestamp};
use posthaste_pipeline::machine::{Certainty, Told};
use posthaste_pipeline::row::Row;
use posthaste_policy::retry::Position;
use posthaste_policy::verdict::Class;
use posthaste_policy::{Category, RuleName, Verdict};

use super::dice::Dice;

/// Mailboxes there are.
pub const MAILBOXES: [&str; 14] = [
    "good", "fine", "nice", "bad", "gone", "grey", "grey-3", "slow-2", "full", "lost", "vanish", "mixed",
    "again", "used",
];

/// One message that a mailbox took.
#[derive(Debug, Clone)]
pub struct Take {
    pub key: PartKey,
    pub recipient: usize,
    /// When the job that brought it began to claim.
    pub began: Timestamp,
    /// Whether a process died, stood still or was refused, or the reply was lost, before this was settled.
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Open,
    Closed,
}

#[derive(Default)]
pub struct Receiver {
    visits: Mutex<BTreeMap<(PartKey, usize), u32>>,
    takes: Mutex<Vec<Take>>,
}

enum Answer {
    Takes,
    TakesAndVanishes,
    Vanishes,
    Refuses(Stage, Category, Class),
}

impl Receiver {
    /// One transaction; what the peer says of each, and the places of what it took.
    pub fn transact(
        &self,
        row: &Row,
        recipients: &[usize],
        began: Timestamp,
        dice: &Dice,
    ) -> (Vec<Told>, Vec<usize>) {
        let mut told = Vec::new();
        let mut taken = Vec::new();
        for (nth, at) in recipients.iter().copied().enumerate() {
            let visit = {
                let mut visits = self.visits.lock().unwrap();
                let visits = visits.entry((row.key.clone(), at)).or_default();
                *visits += 1;
                *visits
            };
            let answer = answer(row.recipients[at].address.local(), visit, dice);
            if matches!(answer, Answer::Takes | Answer::TakesAndVanishes) {
                let mut takes = self.takes.lock().unwrap();
                taken.push(takes.len());
                let key = row.key.clone();
                takes.push(Take { key, recipient: at, began, window: Window::Open });
            }
            told.push(self::told(at, nth, &answer));
        }
        (told, taken)
    }

    /// These were settled without anything in between.
    pub fn settled(&self, taken: &[usize]) {
        let mut takes = self.takes.lock().unwrap();
        taken.iter().for_each(|at| takes[*at].window = Window::Closed);
    }

    pub fn takes(&self) -> Vec<Take> {
        self.takes.lock().unwrap().clone()
    }
}

fn answer(mailbox: &str, visit: u32, dice: &Dice) -> Answer {
    use Class::{Permanent, Transient};
    let refuses = |category, class| Answer::Refuses(Stage::Rcpt, category, class);
    match mailbox {
        "bad" | "gone" => refuses(Category::BadMailbox, Permanent),
        "grey" if visit == 1 => refuses(Category::Greylisted, Transient),
        "grey-3" if visit <= 3 => refuses(Category::Greylisted, Transient),
        "slow-2" if visit <= 2 => refuses(Category::RateLimited, Transient),
        "full" => refuses(Category::MailboxFull, Transient),
        "lost" if visit == 1 => Answer::TakesAndVanishes,
        "vanish" if visit <= 2 => Answer::Vanishes,
        "again" if visit <= 2 => refuses(Category::TooManyRecipients, Transient),
        "used" if visit <= 4 => refuses(Category::ConnectionUsedUp, Transient),
        "mixed" => match dice.below(8) {
            0 | 1 => refuses(Category::Other, Transient),
            2 => refuses(Category::RateLimited, Transient),
            3 => Answer::Vanishes,
            4 => Answer::TakesAndVanishes,
            5 => refuses(Category::ConnectionUsedUp, Transient),
            _ => Answer::Takes,
        },
        _ => Answer::Takes,
    }
}

fn told(recipient: usize, nth: usize, answer: &Answer) -> Told {
    let by_table = |category, class| Verdict::by_table(category, class, None, &RuleName::new("modelled"));
    let (stage, verdict) = match answer {
        Answer::Takes => (Stage::Dot, Verdict::delivered()),
        Answer::TakesAndVanishes | Answer::Vanishes => {
            (Stage::Dot, by_table(Category::Network, Class::Transient))
        }
        Answer::Refuses(stage, category, class) => (*stage, by_table(*category, *class)),
    };
    let reply = matches!(answer, Answer::Refuses(..)).then(|| Reply::new(550, &["5.0.0 as modelled"]));
    Told {
        recipient,
        stage,
        host: Some("mx.modelled.example".to_owned()),
        ip: None,
        tls: None,
        reply,
        detail: None,
        verdict,
        named_wait: None,
        certainty: match answer {
            Answer::Takes | Answer::Refuses(..) => Certainty::Known,
            Answer::TakesAndVanishes | Answer::Vanishes => Certainty::Ambiguous,
        },
        position: if nth == 0 { Position::First } else { Position::Later },
    }
}

//! The words in which relays tell of failures, and the lines behind which they put the message.

use crate::pattern::Pattern;

/// Who sends them.
static MAILER: Pattern = Pattern::any_of(&[
    r"mail(?:er)?[-_.\s]?daemon",
    "post[-_]?master",
    "mdaemon",
    r"mail[-_.\s]?deliver",
    r"mailer\b",
    r"mail[-_.\s]?system",
    r"mail[-_.\s]?administrator",
    r"delivery[-_.\s]?(?:sub)?system",
    r"\bbounces?\b",
    "symantec_antivirus",
    r"\bimss\b",
    "gateway@",
    "mail-?server",
    "exchange",
    "mail-?router",
    "system administrator",
]);

/// What their subjects say.
static SUBJECT: Pattern = Pattern::any_of(&[
    "undeliver",
    "returned (?:mail|to sender)",
    "return(?:ing)? (?:message )?to sender",
    r"(?:delivery|mail|message|transmission|send|sending) (?:\w+ )?(?:fail|error|problem|report|notif|status|delay|could not)",
    "fail(?:ure|ed) (?:notice|mail|delivery|to deliver|sending|message)",
    "mail fail",
    "non-?deliver",
    "not deliver",
    "could (?:not|n.t) be (?:delivered|sent)",
    "undelivered",
    "delivery (?:failure|status|notification|incomplete|delay)",
    "processing error",
    "mail (?:system )?error",
    "bounced",
    "rejected (?:mail|message)",
    "(?:mail|message) (?:was )?(?:rejected|blocked|refused)",
    "user unknown",
    "unknown (?:user|recipient|address)",
    "non remis",
    "nicht zugestellt",
    "unzustellbar",
    "zustell",
    "[eé]chec",
    "non d[eé]livr",
    "no (?:se )?(?:ha podido|pudo|entreg)",
    "mancato recapito",
    "n[aã]o (?:entregue|foi)",
    "не (?:доставлен|может)",
    "невозможно",
    "メールエラー",
    "エラー通知",
    "配信(?:できません|不能|エラー)",
    "送信エラー",
    "退信",
    "系统退信",
    r"delay(?:ed)? \d",
    "has not yet been",
    "warning:",
    "delayed mail",
    "nondelivery",
    "returned mail",
    "notification d['’][eé]tat",
    r"delivery\s+has\s+failed",
]);

/// What they say in their first lines.
static FAILURE: Pattern = Pattern::any_of(&[
    "(?:could|can|was|were|has|have|is|did|will) ?(?:not|n.t) (?:yet )?(?:be(?:en)? )?(?:deliver|reach|sent|relay|receive|process|accept|forward)",
    "cannot be (?:deliver|sent)",
    "unable to (?:deliver|send|relay|process|accept|forward)",
    "undeliver",
    r"(?:deliver\w*|transmission|message|mail|sending|send) (?:\w+ ){0,6}fail",
    r"fail(?:ed|ure) (?:\w+ ){0,4}(?:deliver|recipient|address|send|reason)",
    "not deliver",
    r"delivery (?:\w+ )?(?:error|fail|problem|delay|status|attempt)",
    "returned to (?:you|sender|the sender)",
    r"(?:permanent|fatal) (?:\w+ )?error",
    "transcript of (?:the )?(?:session|attempts|delivery)",
    "(?:unknown|invalid|no such|bad) (?:user|recipient|address|final delivery)",
    "user (?:is )?(?:unknown|not (?:known|found))",
    r"said: ?[45]\d\d",
    r"(?:^|\s)[45]\d\d[ -][45]\.\d+\.\d+",
    "mail(?:box)? (?:is )?(?:over|full|quota)",
    "been (?:returned|rejected|refused|bounced|blocked|delayed|removed)",
    "(?:was|were|be|is) (?:returned|rejected|refused|bounced)",
    "doesn.t have a",
    "postponed",
    "continue to try",
    "not accepting mail",
    "encountered (?:delivery )?(?:problems|an error)",
    r"had (?:\w+ ){0,2}(?:errors|problems)",
    "has been delayed",
    "did not receive",
    "no se (?:ha )?(?:pudo|podido)",
    "no pudo ser",
    "n'a pas (?:pu|[eé]t[eé])",
    "nicht (?:zugestellt|weiter|ausgeliefert)",
    "unzustellbar",
    "n[aã]o (?:p[oô]de|foi)",
    "не (?:может|удалось|доставлен)",
    "無法",
    "配信でき",
    "送信できま",
    "退信",
    "无法",
    "not relayed",
    "was rejected",
    "error-(?:for|code)",
    r"adresse \w+ r[eé]f",
    "probl[eè]me",
    "erreur",
    "failure reasons?",
    "non-delivered",
    "not unique",
    "isn.t (?:valid|accepting)",
    "is (?:invalid|disabled|restricted)",
    "over quota",
    "quota exceeded",
    "could not send",
    "loop(?:s|ing)",
    "transaction failed",
    "dropped",
]);

/// What they say when they go on trying.
static DELAY: Pattern = Pattern::any_of(&[
    "not yet (?:been )?(?:deliver|able)",
    "(?:has|have|was|is|been) delayed",
    r"\bdelayed \d",
    "will (?:be )?(?:retr|continue|keep|attempt)",
    "warning message only",
    "no action is required",
    r"attempts? will (?:\w+ )?continue",
    r"\(delay\)",
    "still (?:trying|being)",
    "postponed",
    r"could not be delivered for (?:the last )?\d+ hours",
    "just a warning",
    "wird weiter versucht",
]);
static GIVEN_UP: Pattern = Pattern::any_of(&[
    "permanent",
    "giv(?:ing|en) up",
    "gave up",
    r"(?:^|\s)fatal",
    "no longer (?:try|attempt)",
    "not going to try",
    "has been (?:returned|removed)",
    "will not (?:be )?(?:retr|attempt|continue)",
]);

/// Lines behind which the message stands.
static RETURNED: Pattern = Pattern::any_of(&[
    r"^(?:the )?(?:original|returned|unsent|undelivered|failed|rejected) (?:mail|message|e-?mail|headers?)\b(?:.*follow|.*below|.*attached|.*header| +text|[ :]*$)",
    r"^(?:(?:this|here|included|following|attached|attachment|below|below this line) is )?(?:an? |the )?(?:copy|headers?|text|first part|beginning|start) of (?:the|your|my) (?:\w+ )?(?:message|mail|header)",
    "^(?:the )?header of the original",
    "^below this line",
    "^message (?:text|header|headers|body) (?:follow|:)",
    "^your (?:original )?message reads",
    "^(?:included|attached|this) is a copy",
    "^a summary of the undelivered",
    "^start of (?:returned|original)",
    "^end of message",
    "^mensaje original",
    "^message d['’]origine",
    "^messaggio originale",
    "^mensagem original",
    "^ursprüngliche nachricht",
    "^исходное сообщение",
    "^元のメッセージ",
    "^原(?:始)?邮件",
]);
/// The fields with which it begins, where no line announces it.
static RETURNED_FIELDS: Pattern = Pattern::any_of(&[
    r"^>?received: (?:from|by|with|\()",
    "^>?return-path: ?<",
    r"^>?x-mailer: \S",
    "^>?mime-version: 1",
    "^>?message-id: ?<",
]);

/// What may stand before such a line's words.
const FRAME: [char; 12] = ['-', '=', '*', '|', '>', '+', '_', '~', '#', '.', '<', ' '];

/// Whether a From field names a machine that carries mail.
pub(crate) fn is_mailer(from: &str) -> bool {
    MAILER.is_in(from)
}

/// Whether a subject tells of a failure.
pub(crate) fn is_about_failure(subject: &str) -> bool {
    SUBJECT.is_in(subject)
}

/// Whether prose does.
pub(super) fn tells_of_failure(head: &str) -> bool {
    FAILURE.is_in(&head.replace('\n', " "))
}

/// Whether it goes on trying.
pub(super) fn is_delay(subject: &str, head: &str) -> bool {
    let text = format!("{subject}\n{head}").replace('\n', " ");
    DELAY.is_in(&text) && !GIVEN_UP.is_in(&text)
}

/// The prose, and the message behind it.
pub(super) fn cut(text: &str) -> (&str, Option<&str>) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_matches(|c: char| FRAME.contains(&c) || c.is_whitespace());
        // A field belongs to the message itself, a line that announces it does not.
        let returned = if RETURNED_FIELDS.is_in(line) {
            Some(&text[at..])
        } else if RETURNED.is_in(bare) {
            Some(&text[at + line.len()..])
        } else {
            None
        };
        if let Some(returned) = returned {
            return (&text[..at], Some(returned).filter(|rest| !rest.trim().is_empty()));
        }
        at += line.len();
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_cut_off() {
        let check = |text: &str, head: &str, returned: Option<&str>| {
            assert_eq!(cut(text), (head, returned), "{text}")
        };
        check("no\n--- Original message follows.\n\nTo: a\n", "no\n", Some("\nTo: a\n"));
        check("no\nReceived: from a\nTo: a\n", "no\n", Some("Received: from a\nTo: a\n"));
        check("no\nReceived <<< 550 no\n", "no\nReceived <<< 550 no\n", None);
        check("------ This is a copy of the message, including all the headers. ------\nno", "", Some("no"));
        check("=== RETURNED MAIL FOLLOWS ===\n", "", None);
        check(
            "The original message was received at noon\nno",
            "The original message was received at noon\nno",
            None,
        );
        check("", "", None);
    }

    #[test]
    fn delays_are_told_from_failures() {
        let check = |text: &str, expected: bool| assert_eq!(is_delay("", text), expected, "{text}");
        check("has not yet been delivered; we will keep trying", true);
        check("delivery was delayed, and has now failed permanently", false);
        check("no such user", false);
    }
}

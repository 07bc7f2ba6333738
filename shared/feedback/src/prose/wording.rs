//! The words in which relays tell of failures, and the lines behind which they put the message.

use std::sync::OnceLock;

use regex::Regex;

/// Who sends them.
const MAILER: &str = r"(?ix) mail(?:er)?[-_.\s]?daemon | post[-_]?master | mdaemon | mail[-_.\s]?deliver | mailer\b | mail[-_.\s]?system
    | mail[-_.\s]?administrator | delivery[-_.\s]?(?:sub)?system | \bbounces?\b | symantec_antivirus | \bimss\b | gateway@ | mail-?server
    | exchange | mail-?router | system\ administrator";

/// What their subjects say.
const SUBJECT: &str = r"(?ix) undeliver | returned\ (?:mail|to\ sender) | return(?:ing)?\ (?:message\ )?to\ sender | (?:delivery|mail|message|transmission|send|sending)\ (?:\w+\ )?(?:fail|error|problem|report|notif|status|delay|could\ not)
    | fail(?:ure|ed)\ (?:notice|mail|delivery|to\ deliver|sending|message) | mail\ fail | non-?deliver | not\ deliver | could\ (?:not|n.t)\ be\ (?:delivered|sent) | undelivered | delivery\ (?:failure|status|notification|incomplete|delay)
    | processing\ error | mail\ (?:system\ )?error | bounced | rejected\ (?:mail|message) | (?:mail|message)\ (?:was\ )?(?:rejected|blocked|refused) | user\ unknown | unknown\ (?:user|recipient|address) | non\ remis | nicht\ zugestellt | unzustellbar | zustell
    | [eé]chec | non\ d[eé]livr | no\ (?:se\ )?(?:ha\ podido|pudo|entreg) | mancato\ recapito | n[aã]o\ (?:entregue|foi) | не\ (?:доставлен|может) | невозможно | メールエラー | エラー通知 | 配信(?:できません|不能|エラー) | 送信エラー | 退信 | 系统退信 | delay(?:ed)?\ \d | has\ not\ yet\ been | warning: | delayed\ mail | nondelivery | returned\ mail | notification\ d['’][eé]tat | delivery\s+has\s+failed";

/// What they say in their first lines.
const FAILURE: &str = r"(?ix) (?:could|can|was|were|has|have|is|did|will)\ ?(?:not|n.t)\ (?:yet\ )?(?:be(?:en)?\ )?(?:deliver|reach|sent|relay|receive|process|accept|forward)
    | cannot\ be\ (?:deliver|sent) | unable\ to\ (?:deliver|send|relay|process|accept|forward) | undeliver | (?:deliver\w*|transmission|message|mail|sending|send)\ (?:\w+\ ){0,6}fail | fail(?:ed|ure)\ (?:\w+\ ){0,4}(?:deliver|recipient|address|send|reason)
    | not\ deliver | delivery\ (?:\w+\ )?(?:error|fail|problem|delay|status|attempt) | returned\ to\ (?:you|sender|the\ sender) | (?:permanent|fatal)\ (?:\w+\ )?error | transcript\ of\ (?:the\ )?(?:session|attempts|delivery) | (?:unknown|invalid|no\ such|bad)\ (?:user|recipient|address|final\ delivery)
    | user\ (?:is\ )?(?:unknown|not\ (?:known|found)) | said:\ ?[45]\d\d | (?:^|\s)[45]\d\d[\ -][45]\.\d+\.\d+ | mail(?:box)?\ (?:is\ )?(?:over|full|quota) | been\ (?:returned|rejected|refused|bounced|blocked|delayed|removed) | (?:was|were|be|is)\ (?:returned|rejected|refused|bounced)
    | doesn.t\ have\ a | postponed | continue\ to\ try | not\ accepting\ mail | encountered\ (?:delivery\ )?(?:problems|an\ error) | had\ (?:\w+\ ){0,2}(?:errors|problems) | has\ been\ delayed | did\ not\ receive | no\ se\ (?:ha\ )?(?:pudo|podido) | no\ pudo\ ser | n'a\ pas\ (?:pu|[eé]t[eé]) | nicht\ (?:zugestellt|weiter|ausgeliefert) | unzustellbar | n[aã]o\ (?:p[oô]de|foi) | не\ (?:может|удалось|доставлен) | 無法|配信でき|送信できま|退信|无法 | not\ relayed | was\ rejected | error-(?:for|code) | adresse\ \w+\ r[eé]f | probl[eè]me | erreur | failure\ reasons? | non-delivered | not\ unique | isn.t\ (?:valid|accepting) | is\ (?:invalid|disabled|restricted) | over\ quota | quota\ exceeded | could\ not\ send | loop(?:s|ing) | transaction\ failed | dropped";

/// What they say when they go on trying.
const DELAY: &str = r"(?ix) not\ yet\ (?:been\ )?(?:deliver|able) | (?:has|have|was|is|been)\ delayed | \bdelayed\ \d | will\ (?:be\ )?(?:retr|continue|keep|attempt) | warning\ message\ only | no\ action\ is\ required | attempts?\ will\ (?:\w+\ )?continue | \(delay\) | still\ (?:trying|being) | postponed
    | could\ not\ be\ delivered\ for\ (?:the\ last\ )?\d+\ hours | just\ a\ warning | wird\ weiter\ versucht";
const GIVEN_UP: &str = r"(?ix) permanent | giv(?:ing|en)\ up | gave\ up | (?:^|\s)fatal | no\ longer\ (?:try|attempt) | not\ going\ to\ try | has\ been\ (?:returned|removed) | will\ not\ (?:be\ )?(?:retr|attempt|continue)";

/// Lines behind which the message stands.
const RETURNED: &str = r"(?imx) ^ [\s\-=*|>+_~\#.<]* (?: (?:the\ )?(?:original|returned|unsent|undelivered|failed|rejected)\ (?:mail|message|e-?mail|headers?)\b (?: .* follow | \s+text | \s* [-=*|:.]* \s* $ | .* below | .*(?:attached|header) )
        | (?:this\ is\ |here\ is\ |below\ (?:this\ line\ )?is\ |included\ is\ |following\ is\ |attached\ is\ |attachment\ is\ |below\ this\ line\ is\ )?(?:a\ |the\ )?(?:copy|header|headers|text|first\ part|beginning|start)\ of\ (?:the|your|my)\ (?:original\ |returned\ |undelivered\ |failed\ )*(?:message|mail|header)
        | below\ this\ line | message\ (?:text|header|headers|body)\ (?:follow|:) | (?:original|returned)\ message\ (?:follow|:) | a\ copy\ of\ the\ (?:original\ )?message | your\ (?:original\ )?message\ reads | (?:the\ )?header\ of\ the\ original | (?:included|attached)\ is\ a\ copy | this\ is\ a\ copy | a\ summary\ of\ the\ undelivered
        | mensaje\ original | message\ d['’]origine | messaggio\ originale | mensagem\ original | urspr.ngliche\ nachricht | урezь | ----\s*元のメッセージ | end\ of\ message | unsent\ message\ (?:below|follows) | the\ original\ message\ (?:was\ )?(?:is\ )?(?:attached|included|below|follows) | start\ of\ (?:returned|original) | returned\ mail\ follows )
    | ^ >? (?: received:\ (?:from|by|\(|with) | return-path:\ ?< | x-mailer:\ \S | mime-version:\ 1 | message-id:\ ?< )";

fn matcher(cell: &'static OnceLock<Regex>, pattern: &'static str) -> &'static Regex {
    cell.get_or_init(|| Regex::new(pattern).expect("the pattern is part of the program and tested"))
}

/// Whether a From field names a machine that carries mail.
pub(crate) fn is_mailer(from: &str) -> bool {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    matcher(&PATTERN, MAILER).is_match(from)
}

/// Whether a subject tells of a failure.
pub(crate) fn is_about_failure(subject: &str) -> bool {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    matcher(&PATTERN, SUBJECT).is_match(subject)
}

/// Whether prose does.
pub(super) fn tells_of_failure(head: &str) -> bool {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    matcher(&PATTERN, FAILURE).is_match(&head.replace('\n', " "))
}

/// Whether it goes on trying.
pub(super) fn is_delay(subject: &str, head: &str) -> bool {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    static OTHERWISE: OnceLock<Regex> = OnceLock::new();
    let text = format!("{subject}\n{head}").replace('\n', " ");
    matcher(&PATTERN, DELAY).is_match(&text) && !matcher(&OTHERWISE, GIVEN_UP).is_match(&text)
}

/// The prose, and the message behind it.
pub(super) fn cut(text: &str) -> (&str, Option<&str>) {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    let Some(found) = matcher(&PATTERN, RETURNED).find(text) else { return (text, None) };
    let line_end = text[found.start()..].trim_start().find('\n');
    let line_start = text.len() - text[found.start()..].trim_start().len();
    let line = &text[line_start..line_end.map_or(text.len(), |end| line_start + end)];
    // A field of the message itself belongs to the message, a line about it does not.
    let is_field = crate::mime::Fields::read(line.as_bytes()).0.is_empty();
    let rest = if is_field { &text[line_start + line.len()..] } else { &text[line_start..] };
    (&text[..found.start()], Some(rest).filter(|rest| !rest.trim().is_empty()))
}

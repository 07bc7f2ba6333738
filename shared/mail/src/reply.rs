//! What a peer answered: stage, code, enhanced code, text. Parsed by us, since receivers' facts get lost
//! elsewhere: `5.7.509` is three numbers, and the enhanced code may stand behind other words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where in the dialogue something happened. Names are those of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before a connection: no route, no address.
    Route,
    /// TCP.
    Connect,
    /// The 220 that opens the session.
    Banner,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS and the handshake after it.
    Tls,
    /// AUTH, to a smarthost.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, up to its 354.
    Data,
    /// The message's octets.
    Body,
    /// The final dot and its reply.
    Dot,
    /// A report that came after it was accepted (RFC 3464).
    Report,
}

impl Stage {
    /// Every stage in the order of the dialogue.
    pub const ALL: [Stage; 12] = [
        Stage::Route,
        Stage::Connect,
        Stage::Banner,
        Stage::Ehlo,
        Stage::Tls,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Body,
        Stage::Dot,
        Stage::Report,
    ];

    /// The name as in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Connect => "connect",
            Self::Banner => "banner",
            Self::Ehlo => "ehlo",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Body => "body",
            Self::Dot => "dot",
            Self::Report => "report",
        }
    }

    /// Reads a stage's name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An enhanced status code (RFC 3463): class 2, 4 or 5, then subject and detail of up to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u16,
    /// What it is about.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

impl Enhanced {
    /// Reads exactly `c.s.d`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = |digits_max: usize| {
            let part = parts.next()?;
            let fits = (1..=digits_max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if fits { part.parse::<u16>().ok() } else { None }
        };
        let code = Self { class: number(1)?, subject: number(3)?, detail: number(3)? };
        (parts.next().is_none() && matches!(code.class, 2 | 4 | 5)).then_some(code)
    }

    /// The first enhanced code of `class` in a reply's text, wherever it stands: at the start as RFC 2034 wants
    /// it, or as `#5.1.1`, `(5.1.1)`, `5.1.1:`. Dotted quads (`5.1.1.7`) and versions (`v5.1.1`) are none.
    pub fn find(text: &str, class: u16) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
            .map(|word| word.trim_end_matches('.'))
            .filter_map(Self::parse)
            .find(|code| code.class == class)
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl TryFrom<String> for Enhanced {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not an enhanced status code"))
    }
}

impl From<Enhanced> for String {
    fn from(code: Enhanced) -> Self {
        code.to_string()
    }
}

/// Longest text of a reply that is kept, in octets; what a peer says beyond it does not change a verdict.
pub const REPLY_TEXT_KEPT: usize = 1024;

/// One complete reply. Non-UTF-8 octets of the text have become U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced code, if one of the code's own class stands in the text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub enhanced: Option<Enhanced>,
    /// The lines' texts without code and enhanced code at their start, joined by `\n`; at most 1,024 octets.
    pub text: String,
}

impl Reply {
    /// From a code and the texts of its lines as they came, without `250-` and line ends.
    pub fn new(code: u16, lines: &[impl AsRef<str>]) -> Self {
        let whole = lines.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n");
        let enhanced = Enhanced::find(&whole, code / 100);
        let mut text = String::new();
        for (n, line) in lines.iter().enumerate() {
            let line = line.as_ref();
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            let line =
                if Enhanced::parse(first).is_some_and(|e| e.class == code / 100) { rest } else { line };
            if n > 0 {
                text.push('\n');
            }
            text.extend(line.chars().filter(|c| !c.is_control() || *c == '\t'));
        }
        if text.len() > REPLY_TEXT_KEPT {
            let end = (0..=REPLY_TEXT_KEPT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        Self { code, enhanced, text }
    }

    /// Reads a reply written on one line, its own line breaks as `\n`: `550 5.1.1 no such user` or
    /// `550-5.1.1 no\n550 5.1.1 such user`. A missing code is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut code = None;
        let mut lines = Vec::new();
        for line in text.trim_end().split('\n') {
            let line = line.trim_end_matches('\r');
            let number = line.get(..3).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            let own = number.and_then(|d| d.parse::<u16>().ok()).filter(|c| (200..600).contains(c));
            match (own, line.as_bytes().get(3)) {
                (Some(c), None | Some(b' ' | b'-')) if code.is_none_or(|known| known == c) => {
                    code = Some(c);
                    lines.push(line.get(4..).unwrap_or(""));
                }
                _ => lines.push(line),
            }
        }
        Some(Self::new(code?, &lines))
    }

    /// 2xx.
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// 421: the peer closes (RFC 5321 3.8).
    pub fn closes(&self) -> bool {
        self.code == 421
    }
}

impl fmt::Display for Reply {
    /// As one line: `550 5.1.1 no such user`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", self.text.replace('\n', " "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_are_found_wherever_they_stand() {
        let check = |text: &str, class: u16, expected: Option<&str>| {
            assert_eq!(Enhanced::find(text, class).map(|e| e.to_string()).as_deref(), expected, "{text}");
        };
        check("5.7.509 Access denied", 5, Some("5.7.509"));
        check("5.1.1: no such user", 5, Some("5.1.1"));
        check("no user (#5.1.1)", 5, Some("5.1.1"));
        check("rejected by 5.1.1.7", 5, None);
        check("exim v5.1.1 says no", 5, None);
        check("4.2.2 over quota", 5, None);
        check("see 5.7.1.", 5, Some("5.7.1"));
        check("", 5, None);
    }

    #[test]
    fn replies_are_read_from_one_line() {
        let check = |text: &str, expected: Option<(u16, Option<&str>, &str)>| {
            let got = Reply::parse(text);
            let got = got.as_ref().map(|r| (r.code, r.enhanced.map(|e| e.to_string()), r.text.as_str()));
            assert_eq!(got, expected.map(|(c, e, t)| (c, e.map(str::to_owned), t)), "{text}");
        };
        check("550 5.1.1 no such user", Some((550, Some("5.1.1"), "no such user")));
        check("550-5.7.1 a\n550 5.7.1 b", Some((550, Some("5.7.1"), "a\nb")));
        check("421", Some((421, None, "")));
        check("250 ok", Some((250, None, "ok")));
        check("hello", None);
        check("999 what", None);
    }
}

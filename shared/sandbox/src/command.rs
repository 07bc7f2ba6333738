//! Command lines, read strictly (RFC 5321 4.1.1): what a careful receiver would refuse is refused here, so that it is
//! found before it matters.

use posthaste_mail::{Address, Domain, ReversePath};

/// Longest `XID` in octets, decoded.
pub(crate) const XID_OCTETS_MAX: usize = 128;
/// Longest name in HELO or EHLO: that of a domain (RFC 5321 4.5.3.1.2).
const HELO_OCTETS_MAX: usize = 255;

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Ehlo(String),
    Helo(String),
    StartTls,
    Mail(Mail),
    Rcpt(Rcpt),
    Data,
    Rset,
    Noop,
    Vrfy,
    Quit,
}

/// MAIL FROM and what it says of the message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) from: ReversePath,
    pub(crate) size: u64,
    pub(crate) smtputf8: bool,
    pub(crate) parameters: usize,
    pub(crate) xid: Option<String>,
    /// What a report about the message has to be handed in with.
    pub(crate) token: Option<String>,
}

/// RCPT TO.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rcpt {
    pub(crate) to: Address,
    /// Whether it was written in ASCII; an address with an international domain need not have been.
    pub(crate) ascii: bool,
    /// How often it was asked for before, if that was said.
    pub(crate) tries: Option<u32>,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A word that is no command.
    Unknown,
    /// A command of RFC 5321 that is not offered: EXPN, HELP, TURN, AUTH, BDAT.
    NotOffered,
    /// Its arguments are missing, too many or malformed.
    Syntax,
    /// An address that is none.
    BadAddress,
    /// A parameter that nobody announced.
    BadParameter,
    /// Not UTF-8, or UTF-8 where SMTPUTF8 was not asked for.
    NotAscii,
}

/// Reads one line without its CRLF. `host` is where a bare `postmaster` lives (RFC 5321 4.5.1).
pub(crate) fn parse(line: &[u8], host: &Domain) -> Result<Command, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::NotAscii)?;
    let (verb, rest) = line.split_once(' ').map_or((line, None), |(verb, rest)| (verb, Some(rest)));
    let bare =
        |command| if rest.is_none_or(|r| r.trim().is_empty()) { Ok(command) } else { Err(Refusal::Syntax) };
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => Ok(Command::Ehlo(helo(rest)?)),
        "HELO" => Ok(Command::Helo(helo(rest)?)),
        "MAIL" => mail(rest.ok_or(Refusal::Syntax)?).map(Command::Mail),
        "RCPT" => rcpt(rest.ok_or(Refusal::Syntax)?, host).map(Command::Rcpt),
        "DATA" => bare(Command::Data),
        "RSET" => bare(Command::Rset),
        "QUIT" => bare(Command::Quit),
        "STARTTLS" => bare(Command::StartTls),
        "NOOP" => Ok(Command::Noop),
        "VRFY" => rest.map(|_| Command::Vrfy).ok_or(Refusal::Syntax),
        "EXPN" | "HELP" | "TURN" | "ETRN" | "AUTH" | "BDAT" => Err(Refusal::NotOffered),
        _ => Err(Refusal::Unknown),
    }
}

fn helo(rest: Option<&str>) -> Result<String, Refusal> {
    let name = rest.unwrap_or_default().trim();
    let fits = (1..=HELO_OCTETS_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(name.to_owned()) } else { Err(Refusal::Syntax) }
}

fn mail(rest: &str) -> Result<Mail, Refusal> {
    let (path, parameters) = path(rest, "FROM:")?;
    let from = ReversePath::parse(path).map_err(|_| Refusal::BadAddress)?;
    let mut mail = Mail { from, size: 0, smtputf8: false, parameters: 0, xid: None, token: None };
    for parameter in parameters.split_ascii_whitespace() {
        mail.parameters += 1;
        let (key, value) = parameter.split_once('=').map_or((parameter, None), |(k, v)| (k, Some(v)));
        match (key.to_ascii_uppercase().as_str(), value) {
            ("SIZE", Some(octets)) => mail.size = number(octets).ok_or(Refusal::Syntax)?,
            ("BODY", Some(kind)) if ["7BIT", "8BITMIME"].iter().any(|k| k.eq_ignore_ascii_case(kind)) => {}
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("XID", Some(text)) => {
                let id = xtext(text).ok_or(Refusal::Syntax)?;
                let (xid, token) = id.split_once('/').map_or((&*id, None), |(xid, token)| (xid, Some(token)));
                (mail.xid, mail.token) = (Some(xid.to_owned()), token.map(str::to_owned));
            }
            _ => return Err(Refusal::BadParameter),
        }
    }
    if !mail.smtputf8 && !rest.is_ascii() { Err(Refusal::NotAscii) } else { Ok(mail) }
}

fn rcpt(rest: &str, host: &Domain) -> Result<Rcpt, Refusal> {
    let (path, parameters) = path(rest, "TO:")?;
    let mut tries = None;
    for parameter in parameters.split_ascii_whitespace() {
        match parameter.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("XTRY") => {
                let asked = number(value).ok_or(Refusal::Syntax)?;
                tries = Some(u32::try_from(asked).unwrap_or(u32::MAX));
            }
            _ => return Err(Refusal::BadParameter),
        }
    }
    let to = if path.eq_ignore_ascii_case("postmaster") {
        Address::parse(&format!("{path}@{host}"))
    } else {
        Address::parse(path)
    };
    Ok(Rcpt { to: to.map_err(|_| Refusal::BadAddress)?, ascii: path.is_ascii(), tries })
}

/// The path between angle brackets, and what follows it. Quoted local parts may hold brackets.
fn path<'a>(rest: &'a str, keyword: &str) -> Result<(&'a str, &'a str), Refusal> {
    let (head, tail) = rest.split_at_checked(keyword.len()).ok_or(Refusal::Syntax)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(Refusal::Syntax);
    }
    let inner = tail.strip_prefix('<').ok_or(Refusal::Syntax)?;
    let (mut quoted, mut escaped) = (false, false);
    let end = inner.bytes().position(|octet| {
        let closes = octet == b'>' && !quoted;
        quoted ^= octet == b'"' && !escaped;
        escaped = octet == b'\\' && quoted && !escaped;
        closes
    });
    let (path, after) = inner.split_at(end.ok_or(Refusal::Syntax)?);
    let parameters = &after[1..];
    if parameters.is_empty() || parameters.starts_with(' ') {
        Ok((path, parameters))
    } else {
        Err(Refusal::Syntax)
    }
}

fn number(digits: &str) -> Option<u64> {
    let fits = (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if fits { Some(digits.parse().unwrap_or(u64::MAX)) } else { None }
}

/// Decodes xtext (RFC 3461 4): `+` and two capital hex digits stand for an octet.
fn xtext(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'+' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            if !digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
                return None;
            }
            octets.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else if (b'!'..=b'~').contains(first) && *first != b'=' {
            octets.push(*first);
            rest = tail;
        } else {
            return None;
        }
    }
    let decoded = String::from_utf8(octets).ok()?;
    let fits = (1..=XID_OCTETS_MAX).contains(&decoded.len()) && !decoded.chars().any(char::is_control);
    fits.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_strictly() {
        let host = Domain::parse("mx.example").unwrap();
        let rcpt = |text: &str| {
            Ok(Command::Rcpt(Rcpt { to: Address::parse(text).unwrap(), ascii: text.is_ascii(), tries: None }))
        };
        let mail = |from: &str, size, smtputf8, parameters, xid: Option<&str>| {
            let (from, xid) = (ReversePath::parse(from).unwrap(), xid.map(str::to_owned));
            Ok(Command::Mail(Mail { from, size, smtputf8, parameters, xid, token: None }))
        };
        let check = |line: &str, expected: Result<Command, Refusal>| {
            assert_eq!(parse(line.as_bytes(), &host), expected, "{line}");
        };
        check("ehlo client.example", Ok(Command::Ehlo("client.example".to_owned())));
        check("HELO [192.0.2.1]", Ok(Command::Helo("[192.0.2.1]".to_owned())));
        check("EHLO", Err(Refusal::Syntax));
        check("EHLO two words", Err(Refusal::Syntax));
        check("MAIL FROM:<>", mail("", 0, false, 0, None));
        check("mail from:<a@b.example> size=12 body=8bitmime", mail("a@b.example", 12, false, 2, None));
        check(
            "MAIL FROM:<a@b.example> SIZE=99999999999999999999",
            mail("a@b.example", u64::MAX, false, 1, None),
        );
        check("MAIL FROM:<\"a>b\"@b.example>", mail("\"a>b\"@b.example", 0, false, 0, None));
        check("MAIL FROM:<a@b.example> XID=msg_1+2B+20x", mail("a@b.example", 0, false, 1, Some("msg_1+ x")));
        check("MAIL FROM:<a@b.example> XID=a+2b", Err(Refusal::Syntax));
        check("MAIL FROM:<a@b.example> XID=+0D+0A", Err(Refusal::Syntax));
        check("MAIL FROM:<a@b.example> XID=", Err(Refusal::Syntax));
        check("MAIL FROM:<żółw@b.example> SMTPUTF8", mail("żółw@b.example", 0, true, 1, None));
        check("MAIL FROM:<żółw@b.example>", Err(Refusal::NotAscii));
        check("MAIL FROM:<a@b.example> SIZE=x", Err(Refusal::Syntax));
        check("MAIL FROM:<a@b.example> RET=HDRS", Err(Refusal::BadParameter));
        check("MAIL FROM:<a@b.example> BODY=BINARYMIME", Err(Refusal::BadParameter));
        check("MAIL FROM: <a@b.example>", Err(Refusal::Syntax));
        check("MAIL FROM:a@b.example", Err(Refusal::Syntax));
        check("MAIL FROM:<a@b.example>SIZE=1", Err(Refusal::Syntax));
        check("MAIL", Err(Refusal::Syntax));
        check("RCPT TO:<ann@example.net>", rcpt("ann@example.net"));
        check("RCPT TO:<Postmaster>", rcpt("Postmaster@mx.example"));
        check("RCPT TO:<ann@bücher.example>", rcpt("ann@bücher.example"));
        check("RCPT TO:<>", Err(Refusal::BadAddress));
        check("RCPT TO:<ann>", Err(Refusal::BadAddress));
        check("RCPT TO:<@a.example:ann@example.net>", Err(Refusal::BadAddress));
        check("RCPT TO:<ann@example.net> NOTIFY=NEVER", Err(Refusal::BadParameter));
        check("RCPT TO:<ann@example.net> XTRY=x", Err(Refusal::Syntax));
        let to = Address::parse("ann@example.net").unwrap();
        let again = Rcpt { to, ascii: true, tries: Some(2) };
        check("RCPT TO:<ann@example.net> xtry=2", Ok(Command::Rcpt(again)));
        check("DATA", Ok(Command::Data));
        check("DATA now", Err(Refusal::Syntax));
        check("NOOP anything", Ok(Command::Noop));
        check("VRFY ann", Ok(Command::Vrfy));
        check("EXPN list", Err(Refusal::NotOffered));
        check("GET / HTTP/1.1", Err(Refusal::Unknown));
        check("", Err(Refusal::Unknown));
        assert_eq!(parse(b"NOOP \xff", &host), Err(Refusal::NotAscii));
    }
}

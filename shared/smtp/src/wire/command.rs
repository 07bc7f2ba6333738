//! Commands as they go onto the wire (RFC 5321 4.1). Each ends its line itself; no argument can end it earlier:
//! addresses are parsed types, secrets are base64, our own name is filtered.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use posthaste_mail::{Address, ReversePath};

use crate::Credentials;

/// Longest command line in octets with its CRLF (RFC 5321 4.5.3.1.4, no room for AUTH in RFC 4954 section 4 either).
const COMMAND_OCTETS_MAX: usize = 512;

/// A write into a `BytesMut` cannot fail: it grows.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{
        let written = write!($out, $($arg)*);
        debug_assert!(written.is_ok(), "BytesMut grows");
        $out.extend_from_slice(b"\r\n");
    }};
}

/// The optional and needed parameters of MAIL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MailParameters {
    /// `SIZE=` (RFC 1870).
    pub(crate) size: Option<u64>,
    /// `BODY=8BITMIME` (RFC 6152).
    pub(crate) eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531); never optional.
    pub(crate) smtputf8: bool,
    /// `XID=`, for the sandbox.
    pub(crate) xid: bool,
    /// `XTRY=` at RCPT, for the sandbox.
    pub(crate) xtry: bool,
}

pub(crate) fn ehlo(out: &mut BytesMut, name: &str) {
    line!(out, "EHLO {}", visible(name));
}

pub(crate) fn helo(out: &mut BytesMut, name: &str) {
    line!(out, "HELO {}", visible(name));
}

/// The name comes from configuration: a stray line end there must not become a command.
fn visible(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).collect()
}

pub(crate) fn starttls(out: &mut BytesMut) {
    out.extend_from_slice(b"STARTTLS\r\n");
}

pub(crate) fn mail(out: &mut BytesMut, from: &ReversePath, parameters: MailParameters, xid: Option<&str>) {
    let mut text = String::new();
    if let Some(octets) = parameters.size {
        text.push_str(" SIZE=");
        text.push_str(&octets.to_string());
    }
    if parameters.eight_bit {
        text.push_str(" BODY=8BITMIME");
    }
    if parameters.smtputf8 {
        text.push_str(" SMTPUTF8");
    }
    if let Some(xid) = xid.filter(|_| parameters.xid) {
        text.push_str(" XID=");
        // An id that would need xtext (RFC 3461 4) is none of ours.
        text.extend(xid.chars().filter(|c| c.is_ascii_alphanumeric() || "_-/.".contains(*c)));
    }
    line!(out, "MAIL FROM:<{from}>{text}");
}

pub(crate) fn rcpt(out: &mut BytesMut, to: &Address, tries: Option<u32>) {
    match tries {
        Some(tries) => line!(out, "RCPT TO:<{to}> XTRY={tries}"),
        None => line!(out, "RCPT TO:<{to}>"),
    }
}

pub(crate) fn data(out: &mut BytesMut) {
    out.extend_from_slice(b"DATA\r\n");
}

/// The end of a message that has no lines.
pub(crate) fn lone_dot(out: &mut BytesMut) {
    out.extend_from_slice(b".\r\n");
}

pub(crate) fn rset(out: &mut BytesMut) {
    out.extend_from_slice(b"RSET\r\n");
}

pub(crate) fn quit(out: &mut BytesMut) {
    out.extend_from_slice(b"QUIT\r\n");
}

/// `AUTH PLAIN` with its initial response where it fits a command line (RFC 4616, RFC 4954).
pub(crate) fn auth_plain(out: &mut BytesMut, credentials: &Credentials) {
    let response = plain_response(credentials);
    if "AUTH PLAIN \r\n".len() + response.len() <= COMMAND_OCTETS_MAX {
        line!(out, "AUTH PLAIN {response}");
    } else {
        out.extend_from_slice(b"AUTH PLAIN\r\n");
    }
}

/// The answer to `334` after AUTH PLAIN.
pub(crate) fn auth_plain_response(out: &mut BytesMut, credentials: &Credentials) {
    line!(out, "{}", plain_response(credentials));
}

fn plain_response(credentials: &Credentials) -> String {
    STANDARD.encode(format!("\0{}\0{}", credentials.username, credentials.password))
}

pub(crate) fn auth_login(out: &mut BytesMut) {
    out.extend_from_slice(b"AUTH LOGIN\r\n");
}

/// The answer to a `334` of AUTH LOGIN: the user's name, then the password.
pub(crate) fn auth_login_response(out: &mut BytesMut, secret: &str) {
    line!(out, "{}", STANDARD.encode(secret));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn commands_are_one_line_each() {
        let check = |got: String, expected: &str| assert_eq!(got, format!("{expected}\r\n"));
        check(written(|out| ehlo(out, "mta.example.com")), "EHLO mta.example.com");
        check(written(|out| ehlo(out, "mta\r\nRSET")), "EHLO mtaRSET");
        let all = MailParameters { size: Some(10), eight_bit: true, smtputf8: true, xid: false, xtry: false };
        check(
            written(|out| mail(out, &ReversePath::Null, all, None)),
            "MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8",
        );
        let from = ReversePath::parse("a@b.example").unwrap();
        check(written(|out| mail(out, &from, MailParameters::default(), None)), "MAIL FROM:<a@b.example>");
        check(
            written(|out| rcpt(out, &Address::parse("\"a b\"@c.example").unwrap(), None)),
            "RCPT TO:<\"a b\"@c.example>",
        );
        check(
            written(|out| rcpt(out, &Address::parse("a@c.example").unwrap(), Some(2))),
            "RCPT TO:<a@c.example> XTRY=2",
        );
    }

    #[test]
    fn a_long_password_waits_for_its_challenge() {
        let credentials = |password: String| Credentials { username: "u".into(), password };
        assert_eq!(written(|out| auth_plain(out, &credentials("p".into()))), "AUTH PLAIN AHUAcA==\r\n");
        assert_eq!(written(|out| auth_plain(out, &credentials("p".repeat(600)))), "AUTH PLAIN\r\n");
        assert!(!format!("{:?}", credentials("secret".into())).contains("secret"));
    }
}

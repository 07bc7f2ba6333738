//! From octets to command lines and message bodies. Only CRLF ends a line and only CRLF.CRLF ends a body: anything
//! that another server might read as a line's end is a refusal, never a guess (RFC 5321 2.3.8).

use memchr::{memchr, memchr3};

use crate::MESSAGE_OCTETS_MAX;

/// Longest command line in octets without its CRLF: RFC 5321 4.5.3.1.4 has 512, and extensions add to it.
pub(crate) const LINE_OCTETS_MAX: usize = 2_048;
/// Body room kept for the next message of a connection; what grew larger is given back.
const BODY_ROOM_KEPT: usize = 1 << 20;

/// The next command line of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// There is none yet.
    Unfinished,
    /// So many octets, then CRLF.
    Whole(usize),
    /// Over [`LINE_OCTETS_MAX`].
    TooLong,
    /// A bare CR or LF, or a NUL.
    Stray,
}

/// Finds the next command line.
pub(crate) fn next_line(buffer: &[u8]) -> Line {
    let Some(lf) = memchr(b'\n', buffer) else {
        return if buffer.len() > LINE_OCTETS_MAX + 1 { Line::TooLong } else { Line::Unfinished };
    };
    if lf > LINE_OCTETS_MAX + 1 {
        return Line::TooLong;
    }
    match buffer[..lf].split_last() {
        Some((b'\r', line)) if memchr::memchr2(b'\r', 0, line).is_none() => Line::Whole(line.len()),
        _ => Line::Stray,
    }
}

/// Where in a body line the next octet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    LineStart,
    /// After the dot that began a line.
    Dot,
    /// After a line's `.` CR.
    DotCr,
    Inside,
    /// After a CR inside a line.
    Cr,
}

/// What is wrong with a body; what came is thrown away, and its end is still waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A bare CR or LF, or a NUL.
    Stray,
    /// Over [`MESSAGE_OCTETS_MAX`].
    TooBig,
    /// No room for it now.
    NoRoom,
}

/// How far a body has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// All octets were taken, the end has not come.
    More,
    /// The final dot came; the octets after this many belong to commands.
    Ended(usize),
}

/// A body that is being received: unstuffed, otherwise octet for octet.
#[derive(Debug, Default)]
pub(crate) struct Body {
    at: At,
    octets: Vec<u8>,
    flaw: Option<Flaw>,
}

impl Body {
    /// Takes what came. Copies whole runs, never octet by octet.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Fed {
        let mut at = 0;
        let mut copied = 0;
        while at < input.len() {
            match (self.at, input[at]) {
                (At::LineStart, b'.') => {
                    self.copy(&input[copied..at]);
                    at += 1;
                    copied = at;
                    self.at = At::Dot;
                }
                (At::Dot, b'\r') => {
                    at += 1;
                    copied = at;
                    self.at = At::DotCr;
                }
                (At::DotCr, b'\n') => {
                    self.at = At::LineStart;
                    return Fed::Ended(at + 1);
                }
                (At::DotCr, _) => self.spoil(Flaw::Stray),
                (At::Cr, b'\n') => {
                    at += 1;
                    self.at = At::LineStart;
                }
                (At::Cr, _) => self.spoil(Flaw::Stray),
                (At::LineStart | At::Dot, _) => self.at = At::Inside,
                (At::Inside, _) => match memchr3(b'\r', b'\n', 0, &input[at..]) {
                    None => at = input.len(),
                    Some(ahead) => {
                        at += ahead + 1;
                        if input[at - 1] == b'\r' {
                            self.at = At::Cr;
                        } else {
                            self.spoil(Flaw::Stray);
                        }
                    }
                },
            }
        }
        self.copy(&input[copied..]);
        Fed::More
    }

    /// What is wrong with it, or its octets. Empty afterwards, ready for the next.
    pub(crate) fn take(&mut self) -> Result<bytes::Bytes, Flaw> {
        self.at = At::LineStart;
        let outcome = match self.flaw.take() {
            Some(flaw) => Err(flaw),
            None => Ok(bytes::Bytes::copy_from_slice(&self.octets)),
        };
        self.octets.clear();
        if self.octets.capacity() > BODY_ROOM_KEPT {
            self.octets = Vec::new();
        }
        outcome
    }

    /// Octets held now.
    pub(crate) fn held(&self) -> usize {
        self.octets.len()
    }

    /// Gives up on the body; its end is still waited for. The first flaw is the one that is told.
    pub(crate) fn spoil(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
        self.octets = Vec::new();
        self.at = At::Inside;
    }

    fn copy(&mut self, run: &[u8]) {
        if self.flaw.is_some() {
            return;
        }
        if self.octets.len() + run.len() > MESSAGE_OCTETS_MAX {
            self.flaw = Some(Flaw::TooBig);
            self.octets = Vec::new();
            return;
        }
        self.octets.extend_from_slice(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crlf_ends_a_command() {
        let check = |buffer: &[u8], expected: Line| assert_eq!(next_line(buffer), expected, "{buffer:?}");
        check(b"NOOP\r\nQUIT", Line::Whole(4));
        check(b"\r\n", Line::Whole(0));
        check(b"NOOP\r", Line::Unfinished);
        check(b"NOOP\nQUIT\r\n", Line::Stray);
        check(b"NO\rOP\r\n", Line::Stray);
        check(b"NO\0OP\r\n", Line::Stray);
        check(b"NOOP\r\r\n", Line::Stray);
        check(b"\n", Line::Stray);
        check(&[b'x'; LINE_OCTETS_MAX + 2], Line::TooLong);
        check(&[&[b'x'; LINE_OCTETS_MAX][..], b"\r\n"].concat(), Line::Whole(LINE_OCTETS_MAX));
        check(&[&[b'x'; LINE_OCTETS_MAX + 1][..], b"\r\n"].concat(), Line::TooLong);
    }

    /// What a body came to, and the octets after its end.
    type Outcome<'a> = (Result<&'a [u8], Flaw>, &'a [u8]);

    /// However the octets are cut, the outcome is the same.
    fn check_body(input: &[u8], expected: Option<Outcome<'_>>) {
        for step in [1, 2, 3, input.len()] {
            let mut body = Body::default();
            let (mut got, mut at) = (None, 0);
            while at < input.len() && got.is_none() {
                let chunk = &input[at..(at + step).min(input.len())];
                match body.feed(chunk) {
                    Fed::More => at += chunk.len(),
                    Fed::Ended(used) => got = Some((body.take(), &input[at + used..])),
                }
            }
            let expected = expected.map(|(e, rest)| (e.map(bytes::Bytes::copy_from_slice), rest));
            assert_eq!(got, expected, "{:?} in steps of {step}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn bodies_are_unstuffed_and_end_at_crlf_dot_crlf_alone() {
        let ok = |text: &'static str| Ok(text.as_bytes());
        check_body(b".\r\n", Some((ok(""), b"")));
        check_body(b"a\r\n.\r\nMAIL", Some((ok("a\r\n"), b"MAIL")));
        check_body(b"..\r\n.a\r\n...b\r\n.\r\n", Some((ok(".\r\na\r\n..b\r\n"), b"")));
        check_body(b"a.\r\n.b.\r\n\r\n.\r\n", Some((ok("a.\r\nb.\r\n\r\n"), b"")));
        check_body(b"a\r\n.", None);
        for stray in [
            &b"\n.\n"[..],
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\n\n.\n\n",
            b"\0",
            b"\r\r\n",
            b"\r\n.\r\r\n",
        ] {
            check_body(&[b"a", stray].concat(), None);
            let whole = [b"a", stray, b"x\r\nMAIL FROM:<e@vil.example>\r\n.\r\nNOOP"].concat();
            check_body(&whole, Some((Err(Flaw::Stray), b"NOOP")));
        }
    }

    #[test]
    fn bodies_are_bounded() {
        let mut body = Body::default();
        let megabyte = vec![b'x'; 1 << 20];
        for _ in 0..=MESSAGE_OCTETS_MAX >> 20 {
            assert_eq!(body.feed(&megabyte), Fed::More);
        }
        assert_eq!(body.held(), 0);
        assert_eq!((body.feed(b"\r\n.\r\n"), body.take()), (Fed::Ended(5), Err(Flaw::TooBig)));
        assert_eq!((body.feed(b"a\r\n.\r\n"), body.take()), (Fed::Ended(6), Ok(bytes::Bytes::from("a\r\n"))));
    }
}

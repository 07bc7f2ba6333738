//! Replies as they come off the wire (RFC 5321 4.2), each bound named. What cannot be parsed is garbage, in words.

use bytes::{Buf, BytesMut};
use posthaste_mail::Reply;

/// Longest reply line in octets with its end. RFC 5321 4.5.3.1.5 says 512; receivers put URLs and tokens in theirs.
const LINE_OCTETS_MAX: usize = 2048;
/// Most lines of one reply: the longest EHLO replies seen have about 30.
const LINES_MAX: usize = 128;
/// Most octets of one reply.
const REPLY_OCTETS_MAX: usize = 64 * 1024;
/// Octets of unread replies beyond which nothing more is read from the socket.
const UNREAD_OCTETS_MAX: usize = 64 * 1024;
/// How much of what was no reply is shown.
const SHOWN_CHARS: usize = 80;

/// One complete reply: its code and its lines' texts, non-UTF-8 made U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) lines: Vec<String>,
}

impl Answer {
    pub(crate) fn class(&self) -> u16 {
        self.code / 100
    }

    pub(crate) fn reply(&self) -> Reply {
        Reply::new(self.code, &self.lines)
    }

    /// In words, for when the reply is none to what was asked.
    pub(crate) fn unexpected(&self) -> String {
        format!("unexpected reply {}", shown(self.reply().to_string().as_bytes()))
    }
}

/// Collects octets and gives complete replies.
#[derive(Debug, Default)]
pub(crate) struct ReplyReader {
    unread: BytesMut,
    /// Octets of `unread` known to hold no LF.
    searched: usize,
    partial: Option<Answer>,
    partial_octets: usize,
}

enum Position {
    More,
    Last,
}

impl ReplyReader {
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.unread.len() < UNREAD_OCTETS_MAX
    }

    /// Whether the peer said anything that was not yet taken as a reply.
    pub(crate) fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.partial.is_none()
    }

    /// Forgets everything: what was said in clear does not count after TLS.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next complete reply, if it is there; the error says what stands there instead.
    pub(crate) fn next(&mut self) -> Result<Option<Answer>, String> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.unread[self.searched..]) else {
                self.searched = self.unread.len();
                if self.unread.len() >= LINE_OCTETS_MAX {
                    return Err(format!("line over {LINE_OCTETS_MAX} octets: {}", shown(&self.unread)));
                }
                return Ok(None);
            };
            let octets = self.searched + found + 1;
            self.searched = 0;
            if octets > LINE_OCTETS_MAX {
                return Err(format!("line over {LINE_OCTETS_MAX} octets: {}", shown(&self.unread)));
            }
            let position = self.take_line(octets)?;
            self.unread.advance(octets);
            if matches!(position, Position::Last) {
                self.partial_octets = 0;
                return Ok(self.partial.take());
            }
        }
    }

    fn take_line(&mut self, octets: usize) -> Result<Position, String> {
        let line = &self.unread[..octets - 1];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, position, text) =
            parse_line(line).ok_or_else(|| format!("no reply line: {}", shown(line)))?;
        let answer = self.partial.get_or_insert_with(|| Answer { code, lines: Vec::with_capacity(1) });
        if answer.code != code {
            return Err(format!("one reply with two codes, {} and {code}", answer.code));
        }
        self.partial_octets += octets;
        if answer.lines.len() == LINES_MAX || self.partial_octets > REPLY_OCTETS_MAX {
            return Err(format!("reply over {LINES_MAX} lines or {REPLY_OCTETS_MAX} octets"));
        }
        answer.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(position)
    }
}

fn parse_line(line: &[u8]) -> Option<(u16, Position, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0u16, |code, digit| code * 10 + u16::from(digit - b'0'));
    if !(200..600).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, Position::Last, rest)),
        Some((b' ', text)) => Some((code, Position::Last, text)),
        Some((b'-', text)) => Some((code, Position::More, text)),
        Some(_) => None,
    }
}

fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(4 * SHOWN_CHARS)]);
    format!("`{}`", text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `input` cut into pieces of `step` octets; each reply as its code and joined lines.
    fn read(input: &[u8], step: usize) -> (Vec<String>, Option<String>) {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in input.chunks(step) {
            reader.push(piece);
            loop {
                match reader.next() {
                    Ok(Some(answer)) => replies.push(format!("{} {}", answer.code, answer.lines.join("|"))),
                    Ok(None) => break,
                    Err(garbage) => return (replies, Some(garbage)),
                }
            }
        }
        (replies, None)
    }

    fn check(input: &[u8], expected: &[&str], garbage: Option<&str>) {
        for step in [1, 7, input.len().max(1)] {
            let (replies, got) = read(input, step);
            assert_eq!(replies, expected, "{:?} in steps of {step}", String::from_utf8_lossy(input));
            match (garbage, &got) {
                (None, None) => {}
                (Some(part), Some(got)) => assert!(got.contains(part), "{got}"),
                _ => panic!("{garbage:?} expected, {got:?} got"),
            }
        }
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        check(b"220 hello\r\n", &["220 hello"], None);
        check(b"250-a\r\n250-b\r\n250 c\r\n", &["250 a|b|c"], None);
        check(b"250 a\r\n451 b\r\n", &["250 a", "451 b"], None);
        check(b"250 lf only\n", &["250 lf only"], None);
        check(b"250\r\n", &["250 "], None);
        check(b"250-\r\n250 \r\n", &["250 |"], None);
        check(b"550 caf\xe9\r\n", &["550 caf\u{fffd}"], None);
        check(b"250 incomplete", &[], None);
        check(b"250 a\r\n250-b\r\n", &["250 a"], None);
    }

    #[test]
    fn what_is_no_reply_is_garbage() {
        check(b"hello\r\n", &[], Some("no reply line: `hello`"));
        check(b"\r\n", &[], Some("no reply line"));
        check(b"25\r\n", &[], Some("no reply line"));
        check(b"2500 what\r\n", &[], Some("no reply line"));
        check(b"250_what\r\n", &[], Some("no reply line"));
        check(b"150 preliminary\r\n", &[], Some("no reply line"));
        check(b"600 beyond\r\n", &[], Some("no reply line"));
        check(b"250-a\r\n550 b\r\n", &[], Some("two codes, 250 and 550"));
        check(b"HTTP/1.1 400 Bad Request\r\n", &[], Some("HTTP/1.1"));
        check(b"\x16\x03\x01\x00\x00\n", &[], Some("no reply line"));
    }

    #[test]
    fn replies_are_bounded() {
        let longest = [b"250 ".as_slice(), &vec![b'x'; LINE_OCTETS_MAX - 6], b"\r\n"].concat();
        let text = format!("250 {}", "x".repeat(LINE_OCTETS_MAX - 6));
        check(&longest, &[&text], None);
        check(
            &[b"250 ".as_slice(), &vec![b'x'; LINE_OCTETS_MAX - 5], b"\r\n"].concat(),
            &[],
            Some("line over"),
        );
        check(&vec![b'2'; 1 << 20], &[], Some("line over"));
        check(&b"250-x\r\n".repeat(LINES_MAX + 1), &[], Some("reply over"));
        let wide = [b"250-".as_slice(), &vec![b'x'; 1000], b"\r\n"].concat();
        check(&wide.repeat(LINES_MAX), &[], Some("reply over"));
    }
}

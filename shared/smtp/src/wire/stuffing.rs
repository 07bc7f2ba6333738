//! Dot-stuffing (RFC 5321 4.5.2) without copying: a message becomes slices of itself with dots between.

use memchr::memmem;

/// The message as it goes on the wire after 354: `prefix` and `body`, a dot more before each line that begins with one,
/// and the final dot's line as the last slice. Slices are never empty.
///
/// A line begins after *any* LF: where a bare one has slipped in, a receiver that takes it for a line's end must not
/// see a lone dot behind it.
pub(crate) fn stuffed<'a>(prefix: &'a [u8], body: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let body_starts_line = prefix.last().is_none_or(|last| *last == b'\n');
    let whole_ends = if body.is_empty() { prefix } else { body };
    let end: &[u8] =
        if whole_ends.is_empty() || whole_ends.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" };
    Stuffing::new(prefix, LineStart::Yes)
        .chain(Stuffing::new(body, if body_starts_line { LineStart::Yes } else { LineStart::No }))
        .chain(std::iter::once(end))
}

/// Octets of the final dot's own line, `.` CR LF: what is left of a message when these are is not ambiguous yet.
pub(crate) const DOT_LINE_OCTETS: usize = 3;

#[derive(PartialEq, Eq)]
enum LineStart {
    Yes,
    No,
}

struct Stuffing<'a> {
    part: &'a [u8],
    sent: usize,
    dot_due: bool,
    ends: memmem::FindIter<'a, 'static>,
}

impl<'a> Stuffing<'a> {
    fn new(part: &'a [u8], start: LineStart) -> Self {
        let dot_due = start == LineStart::Yes && part.first() == Some(&b'.');
        Self { part, sent: 0, dot_due, ends: memmem::find_iter(part, b"\n.") }
    }
}

impl<'a> Iterator for Stuffing<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.dot_due {
            self.dot_due = false;
            return Some(b".");
        }
        if self.sent == self.part.len() {
            return None;
        }
        let from = self.sent;
        self.sent = match self.ends.next() {
            Some(line_end) => {
                self.dot_due = true;
                line_end + 1
            }
            None => self.part.len(),
        };
        Some(&self.part[from..self.sent])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(prefix: &[u8], body: &[u8]) -> Vec<u8> {
        stuffed(prefix, body).inspect(|slice| assert!(!slice.is_empty())).flatten().copied().collect()
    }

    #[test]
    fn a_leading_dot_is_doubled_and_nothing_else_changes() {
        let check = |prefix: &str, body: &str, expected: &str| {
            assert_eq!(String::from_utf8(wire(prefix.as_bytes(), body.as_bytes())).unwrap(), expected);
        };
        check("", "", ".\r\n");
        check("", "a\r\n", "a\r\n.\r\n");
        check("", "a", "a\r\n.\r\n");
        check("", ".\r\n", "..\r\n.\r\n");
        check("", "..\r\n", "...\r\n.\r\n");
        check("", "a\r\n.\r\n.b\r\n", "a\r\n..\r\n..b\r\n.\r\n");
        check("", "a.\r\n b.c\r\n", "a.\r\n b.c\r\n.\r\n");
        check("X: y\r\n", ".a\r\n", "X: y\r\n..a\r\n.\r\n");
        check("X: y\r\n", "", "X: y\r\n.\r\n");
        check("X: ", ".a\r\n", "X: .a\r\n.\r\n");
        check("", "a\n.\r\nb\r\n", "a\n..\r\nb\r\n.\r\n");
    }

    #[test]
    fn a_message_without_dots_is_not_cut() {
        assert_eq!(stuffed(b"X: y\r\n", &b"line\r\n".repeat(1000)).count(), 3);
    }

    /// A receiver's side, written from RFC 5321 4.5.2 alone: lines up to the lone dot, one leading dot less each.
    fn receive(wire: &[u8]) -> (Vec<u8>, usize) {
        let (mut message, mut at) = (Vec::new(), 0);
        loop {
            let end = at + wire[at..].windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
            let line = &wire[at..end];
            at = end;
            if line == b".\r\n" {
                return (message, at);
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::collection::vec(prop::sample::select(b"..a \t".to_vec()), 0..6), 0..12)
            .prop_map(|lines| lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect())
    }

    proptest! {
        #[test]
        fn what_a_receiver_unstuffs_is_what_was_sent(prefix in lines(), body in lines()) {
            let wire = wire(&prefix, &body);
            let (message, read) = receive(&wire);
            prop_assert_eq!(message, [prefix, body].concat());
            prop_assert_eq!(read, wire.len(), "the end comes once, at the end");
        }
    }
}

//! Lines of stdin, as many at once as have come: many from a file, one from a person.

use std::io::{BufRead, BufReader, Read};

use crate::failure::Failure;

/// Octets read at once.
const BUFFER_OCTETS: usize = 1 << 18;
/// Longest line that is read, in octets: a reply of a hundred lines fits many times over.
const LINE_OCTETS_MAX: u64 = 1 << 20;
/// Lines handed on at once.
const BATCH_LINES_MAX: usize = 4_096;

/// Some lines that follow one another, without their ends.
pub(super) struct Batch {
    /// The number of the first, from 1.
    pub(super) first_line: u64,
    /// The lines; never empty. Octets that are no UTF-8 have become U+FFFD.
    pub(super) lines: Vec<String>,
}

/// Reads lines.
pub(super) struct Lines<R> {
    from: BufReader<R>,
    read: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from: BufReader::with_capacity(BUFFER_OCTETS, from), read: 0 }
    }

    /// The next lines; none at the end. Waits for one line only.
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>, Failure> {
        let first_line = self.read + 1;
        let mut lines = Vec::new();
        while lines.len() < BATCH_LINES_MAX && (lines.is_empty() || self.from.buffer().contains(&b'\n')) {
            match self.next_line()? {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        Ok((!lines.is_empty()).then_some(Batch { first_line, lines }))
    }

    fn next_line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        let octets = Read::take(&mut self.from, LINE_OCTETS_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::failed(format!("stdin: {error}")))?;
        if octets == 0 {
            return Ok(None);
        }
        self.read += 1;
        let is_whole = line.last() == Some(&b'\n');
        if !is_whole && u64::try_from(octets).unwrap_or(u64::MAX) >= LINE_OCTETS_MAX {
            return Err(Failure::input(format!("line {}: over {LINE_OCTETS_MAX} octets", self.read)));
        }
        Ok(Some(String::from_utf8_lossy(line.trim_ascii()).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        let mut lines = Lines::new(&b"one\r\n\n  three \nfo\xffur"[..]);
        let batch = lines.next_batch().unwrap().unwrap();
        assert_eq!(
            (batch.first_line, batch.lines),
            (1, vec!["one".to_owned(), String::new(), "three".to_owned()])
        );
        let batch = lines.next_batch().unwrap().unwrap();
        assert_eq!((batch.first_line, batch.lines), (4, vec!["fo\u{fffd}ur".to_owned()]));
        assert!(lines.next_batch().unwrap().is_none());
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::new(std::io::repeat(b'x'));
        assert!(lines.next_batch().is_err());
    }
}

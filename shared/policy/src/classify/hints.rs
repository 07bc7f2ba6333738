//! Which of many patterns a text could match at all: each has some literals that a match begins with, and all of these are
//! looked for in one pass. A refusal holds a few of them, so that a few patterns are tried and not all.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

/// Shorter literals stand in nearly every text and rule nothing out.
const LITERAL_OCTETS_MIN: usize = 2;
/// Longer ones make the automaton larger and rule out hardly more.
const LITERAL_OCTETS_MAX: usize = 8;

/// Literals of patterns, by the patterns' numbers.
#[derive(Debug)]
pub(super) struct Hints {
    literals: Option<AhoCorasick>,
    /// The patterns that each literal begins.
    patterns: Vec<Vec<usize>>,
    /// Those that begin with nothing certain.
    always: Possible,
}

/// Numbers of the patterns that may match a text.
#[derive(Debug, Clone, Default)]
pub(super) struct Possible(Vec<u64>);

impl Possible {
    fn none(patterns: usize) -> Self {
        Self(vec![0; patterns.div_ceil(64)])
    }

    fn add(&mut self, pattern: usize) {
        if let Some(word) = self.0.get_mut(pattern / 64) {
            *word |= 1 << (pattern % 64);
        }
    }

    /// Whether a pattern is one of them.
    pub(super) fn has(&self, pattern: usize) -> bool {
        self.0.get(pattern / 64).is_some_and(|word| word & (1 << (pattern % 64)) != 0)
    }
}

impl Hints {
    /// For patterns over octets, numbered in their order.
    pub(super) fn of<'a>(patterns: impl Iterator<Item = &'a str>) -> Self {
        let begun: Vec<Option<Vec<Vec<u8>>>> = patterns.map(beginnings).collect();
        let mut always = Possible::none(begun.len());
        let mut literals: Vec<Vec<u8>> = Vec::new();
        let mut of_literal: Vec<Vec<usize>> = Vec::new();
        for (number, begun) in begun.into_iter().enumerate() {
            for literal in begun.unwrap_or_else(|| {
                always.add(number);
                Vec::new()
            }) {
                match literals.iter().position(|known| *known == literal) {
                    Some(at) => of_literal[at].push(number),
                    None => {
                        literals.push(literal);
                        of_literal.push(vec![number]);
                    }
                }
            }
        }
        let automaton = AhoCorasickBuilder::new().match_kind(MatchKind::Standard).build(&literals).ok();
        Self { literals: automaton, patterns: of_literal, always }
    }

    /// The patterns that may match a text; every other one does not. None: any may.
    pub(super) fn possible(&self, text: &str) -> Option<Possible> {
        let literals = self.literals.as_ref()?;
        let mut possible = self.always.clone();
        for found in literals.find_overlapping_iter(text) {
            self.patterns[found.pattern().as_usize()].iter().for_each(|pattern| possible.add(*pattern));
        }
        Some(possible)
    }
}

/// Literals one of which every match begins with; none where that cannot be told.
fn beginnings(pattern: &str) -> Option<Vec<Vec<u8>>> {
    let hir = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    let mut begun = Extractor::new().kind(ExtractKind::Prefix).extract(&hir);
    begun.keep_first_bytes(LITERAL_OCTETS_MAX);
    begun.dedup();
    let literals: Vec<Vec<u8>> =
        begun.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect();
    let tell = !literals.is_empty() && literals.iter().all(|literal| literal.len() >= LITERAL_OCTETS_MIN);
    tell.then_some(literals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_cannot_match_are_ruled_out() {
        let patterns = [r"\bspam", "(?:user|mailbox) unknown", ".*anything", "x+y", "voll"];
        let hints = Hints::of(patterns.into_iter());
        let check = |text: &str, expected: &[usize]| {
            let possible = hints.possible(text).unwrap();
            let got: Vec<usize> = (0..patterns.len()).filter(|n| possible.has(*n)).collect();
            assert_eq!(got, expected, "{text}");
        };
        check("no such thing", &[2, 3]);
        check("user unknown, spam", &[0, 1, 2, 3]);
        check("mailbox voll", &[1, 2, 3, 4]);
        check("", &[2, 3]);
    }
}

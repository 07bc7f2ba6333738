//! The text that patterns see: lower case, a line for each sentence, one space between words, no addresses. A mailbox called `spam` or
//! `full@quota.example` must not decide what a reply means.

/// Joins lines, folds white space and cases, puts a bare `@` for every address, and begins a line with every sentence,
/// so that a pattern's gaps stay within one.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push(if cleaned.ends_with(['.', '!', '?']) { '\n' } else { ' ' });
        }
        let word = word.to_lowercase();
        if word.contains('@') { push_without_address(&mut cleaned, &word) } else { cleaned.push_str(&word) }
    }
    cleaned
}

/// Whether a character can stand in an address as receivers quote it; brackets and quotes end one.
fn in_address(c: char) -> bool {
    c.is_alphanumeric() || "!#$%&*+-/=?^_`{|}~.@".contains(c)
}

fn push_without_address(cleaned: &mut String, word: &str) {
    let mut rest = word;
    while let Some(at) = rest.find('@') {
        let start =
            rest[..at].char_indices().rev().take_while(|(_, c)| in_address(*c)).last().map_or(at, |(i, _)| i);
        let end = rest[at..].find(|c: char| !in_address(c)).map_or(rest.len(), |n| at + n);
        // Dots in a row stand between an address and what is said of it, and a full stop is no part of it.
        let start = rest[start..at].rfind("..").map_or(start, |n| start + n + 2);
        let end = rest[at..end].find("..").map_or(end, |n| at + n);
        let end = at + 1 + rest[at + 1..end].trim_end_matches('.').len();
        // An address in a link is part of the link.
        if rest[..start].ends_with(':') && rest[start..].starts_with("//") {
            cleaned.push_str(&rest[..end]);
        } else {
            cleaned.push_str(&rest[..start]);
            cleaned.push('@');
        }
        rest = &rest[end..];
    }
    cleaned.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_line_breaks_do_not_decide() {
        let check = |text: &str, expected: &str| assert_eq!(clean(text), expected);
        check("User\nunknown", "user unknown");
        check("Sorry. No such user at 192.0.2.7 here! Bye", "sorry.\nno such user at 192.0.2.7 here!\nbye");
        check("  a \t b ", "a b");
        check("<spam.full@quota.example>: no", "<@>: no");
        check("(blocked@example.com:blocked)", "(@:blocked)");
        check("'kiji+tora@example.com' is", "'@' is");
        check("a@b", "@");
        check("not allowed...ann@example.net...no, ann@example.net. Bye", "not allowed...@...no, @.\nbye");
        check("see https://x.example/?a=b@c for", "see https://x.example/?a=b@c for");
        check("@ @@ a@", "@ @ @");
        check("JÜRGEN@bücher.example VOLL Ü", "@ voll ü");
    }
}

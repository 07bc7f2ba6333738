//! The text that patterns see: one line, one space between words, no addresses. A mailbox called `spam` or
//! `full@quota.example` must not decide what a reply means.

/// Joins lines, folds white space, and puts a bare `@` for every address.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        if word.contains('@') { push_without_address(&mut cleaned, word) } else { cleaned.push_str(word) }
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
        check("user\nunknown", "user unknown");
        check("  a \t b ", "a b");
        check("<spam.full@quota.example>: no", "<@>: no");
        check("(blocked@example.com:blocked)", "(@:blocked)");
        check("'kiji+tora@example.com' is", "'@' is");
        check("a@b", "@");
        check("see https://x.example/?a=b@c for", "see https://x.example/?a=b@c for");
        check("@ @@ a@", "@ @ @");
        check("jürgen@bücher.example voll", "@ voll");
    }
}

//! The words of an HTML text.

/// Tags that stand within a line.
const INLINE: [&str; 11] = ["b", "i", "a", "font", "span", "em", "strong", "u", "code", "tt", "small"];
/// The few entities that stand in and around addresses.
const ENTITIES: [(&str, &str); 8] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&nbsp;", " "),
    ("&#64;", "@"),
    ("&commat;", "@"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&amp;", "&"),
];

/// The text without tags, styles and scripts, a line for each block.
pub(crate) fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(end) = rest.find('>') else { break };
        let tag = &rest[1..end];
        let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next();
        let name = name.unwrap_or("").to_ascii_lowercase();
        if tag.contains('@') && !tag.contains([' ', '=']) {
            // An address in angle brackets that nobody escaped is a word.
            text.push_str(&rest[..=end]);
        } else if matches!(name.as_str(), "style" | "script") && !tag.starts_with('/') {
            rest = rest[end + 1..].find("</").map_or("", |close| &rest[end + 1 + close..]);
            continue;
        } else if !INLINE.contains(&name.as_str()) {
            text.push('\n');
        }
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    ENTITIES.iter().fold(
        text,
        |text, (entity, plain)| {
            if text.contains(entity) { text.replace(entity, plain) } else { text }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_and_tags_go() {
        let check = |html: &str, expected: &str| assert_eq!(without_tags(html), expected, "{html}");
        check("<p>no <b>such</b> user<br>here", "\nno such user\nhere");
        check("to <ann@example.net>: no", "to <ann@example.net>: no");
        check("&lt;ann&#64;example.net&gt;", "<ann@example.net>");
        check("a<style>b{c:d}</style>e", "a\ne");
        check("a<script>never ends", "a");
        check("1 < 2", "1 < 2");
    }
}

//! Paths from what a user typed.

/// One segment of a path: everything but unreserved characters and `@` escaped (RFC 3986 3.3), so that a slash or a
/// question mark in an address stays in it.
pub(crate) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~@+".contains(&octet) {
            escaped.push(char::from(octet));
        } else {
            escaped.push_str(&format!("%{octet:02X}"));
        }
    }
    // `.` and `..` would be resolved away.
    if escaped == "." || escaped == ".." { escaped.replace('.', "%2E") } else { escaped }
}

#[cfg(test)]
mod tests {
    #[test]
    fn segments_keep_what_would_end_them() {
        let check = |text: &str, expected: &str| assert_eq!(super::segment(text), expected);
        check("ann+tag@example.net", "ann+tag@example.net");
        check("a/b?c#d%e@example.net", "a%2Fb%3Fc%23d%25e@example.net");
        check("żółw@example.net", "%C5%BC%C3%B3%C5%82w@example.net");
        check("..", "%2E%2E");
    }
}

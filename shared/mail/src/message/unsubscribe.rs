//! Whether a message tells how to be rid of the next one.

use super::fields::fields;

/// What a message offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsubscribeOffer {
    /// One click: a web address that takes it, and the field that says so (RFC 8058 3.1).
    OneClick,
    /// A way that takes more than a click (RFC 2369 3.2).
    Other,
    /// Nothing.
    Absent,
}

const WAYS: &str = "List-Unsubscribe";
const ONE_CLICK: &str = "List-Unsubscribe-Post";

/// What a message offers; its lines end with CRLF.
pub fn unsubscribe_offer(message: &[u8]) -> UnsubscribeOffer {
    let found = fields(message, &[WAYS, ONE_CLICK]);
    let value =
        |name: &'static str| found.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value);
    let ways: Vec<String> = value(WAYS).flat_map(|value| value.split(',')).map(uri).collect();
    let is_web = |uri: &String| uri.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("https://"));
    let says_so =
        value(ONE_CLICK).any(|value| value.trim().eq_ignore_ascii_case("List-Unsubscribe=One-Click"));
    match ways.iter().all(String::is_empty) {
        true => UnsubscribeOffer::Absent,
        false if says_so && ways.iter().any(is_web) => UnsubscribeOffer::OneClick,
        false => UnsubscribeOffer::Other,
    }
}

/// What stands in angle brackets, without white space (RFC 2369 2).
fn uri(text: &str) -> String {
    let within = text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(uri, _)| uri);
    within.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_one_click_another_or_none() {
        let check = |header: &str, expected: UnsubscribeOffer| {
            let message =
                format!("From: a@b.example\r\n{header}\r\nList-Unsubscribe: <https://in.the.body>\r\n");
            assert_eq!(unsubscribe_offer(message.as_bytes()), expected, "{header}");
        };
        use UnsubscribeOffer::{Absent, OneClick, Other};
        let post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
        check(&format!("List-Unsubscribe: <https://b.example/u>\r\n{post}"), OneClick);
        check(
            &format!("{post}LIST-UNSUBSCRIBE:\r\n <mailto:u@b.example>,\r\n <HTTPS://b.example/u>\r\n"),
            OneClick,
        );
        check("List-Unsubscribe: <https://b.example/u>\r\n", Other);
        check(&format!("List-Unsubscribe: <mailto:u@b.example>\r\n{post}"), Other);
        check(&format!("List-Unsubscribe: <http://b.example/u>\r\n{post}"), Other);
        check("List-Unsubscribe: <https://b.example/u>\r\nList-Unsubscribe-Post: yes\r\n", Other);
        check(post, Absent);
        check(&format!("List-Unsubscribe: https://b.example/u\r\n{post}"), Absent);
        check("X-List-Unsubscribe: <https://b.example/u>\r\n", Absent);
        check("", Absent);
    }
}

//! Queries and path segments, decoded strictly: what is not percent-encoded UTF-8 is refused, not mended.

use axum::http::StatusCode;

use crate::problem::Problem;

/// The parameters of a query, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d` (application/x-www-form-urlencoded).
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Problem> {
        let pieces = text.unwrap_or_default().split('&').filter(|piece| !piece.is_empty());
        let pairs = pieces.map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((decode(name, Plus::Space)?, decode(value, Plus::Space)?))
        });
        Ok(Self(pairs.collect::<Result<_, Problem>>()?))
    }

    /// All of it.
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// Refuses parameters that are not among `known`, and any that comes twice.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        for (n, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
                return Err(Problem::field(shown, "unknown parameter"));
            }
            if self.0[..n].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::field(name, "given more than once"));
            }
        }
        Ok(self)
    }

    /// One parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn number(&self, name: &str, least: usize, most: usize) -> Result<Option<usize>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::field(name, format!("expected a whole number from {least} to {most}"))),
        }
    }
}

/// What a plus sign stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// A space: in queries.
    Space,
    /// Itself: in paths.
    Itself,
}

/// Decodes percent-encoded UTF-8.
pub(crate) fn decode(text: &str, plus: Plus) -> Result<String, Problem> {
    let bad = || Problem::new(StatusCode::BAD_REQUEST, "the URL is not percent-encoded UTF-8");
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit(rest.next()).ok_or_else(bad)?, digit(rest.next()).ok_or_else(bad)?);
                // Two hexadecimal digits fit an octet.
                (high * 16 + low) as u8
            }
            b'+' if plus == Plus::Space => b' ',
            octet => octet,
        });
    }
    String::from_utf8(octets).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_strictly() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            let got = Query::read(Some(text)).ok();
            let expected =
                expected.map(|e| e.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
            assert_eq!(got, expected.map(Query), "{text}");
        };
        check("", Some(&[]));
        check("a=1&b=2", Some(&[("a", "1"), ("b", "2")]));
        check("a=x%40y+z&&b", Some(&[("a", "x@y z"), ("b", "")]));
        check("a=b=c", Some(&[("a", "b=c")]));
        check("a=%C3%A9", Some(&[("a", "é")]));
        check("a=%", None);
        check("a=%4", None);
        check("a=%zz", None);
        check("a=%ff", None);
    }

    #[test]
    fn parameters_are_known_and_come_once() {
        let check = |text: &str, expected: bool| {
            assert_eq!(Query::read(Some(text)).unwrap().only(&["a", "n"]).is_ok(), expected, "{text}");
        };
        check("a=1&n=2", true);
        check("a=1&a=1", false);
        check("x=1", false);
        let number = |text: &str| Query::read(Some(text)).unwrap().number("n", 1, 9).map_err(|_| ());
        assert_eq!(number("n=9"), Ok(Some(9)));
        assert_eq!(number(""), Ok(None));
        for wrong in ["n=10", "n=0", "n=-1", "n=%2B1", "n=", "n=1.0"] {
            assert_eq!(number(wrong), Err(()), "{wrong}");
        }
    }
}

//! Parts of a message, found without trust: nesting, parts and fields are counted, every octet is looked at once a level,
//! and what breaks the rules is read as the text it is. A parser that follows nesting as deep as it goes can be made to
//! use up its stack, or to look for a million boundaries that never come.

use mail_parser::HeaderValue;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;

/// Fields of one header section.
const FIELDS_MAX: usize = 500;
/// Octets of one field with its continuations; what is longer is cut.
const FIELD_OCTETS_MAX: usize = 64 * 1024;

/// What Japanese in seven bits begins with, whatever charset is declared.
const ISO_2022_JP_SHIFT: &[u8] = b"\x1b$B";

/// Header fields in their order, unfolded; values as written.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads fields up to an empty line or a line that is none; gives the rest.
    pub(crate) fn read(raw: &[u8]) -> (Self, &[u8]) {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut rest = raw;
        while let Some((line, after)) = next_line(rest) {
            if line.is_empty() {
                return (Self(fields), after);
            }
            let text = String::from_utf8_lossy(line);
            if text.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut()
                    && value.len() + text.len() <= FIELD_OCTETS_MAX
                {
                    value.push(' ');
                    value.push_str(text.trim());
                }
            } else if let Some((name, value)) = field(&text) {
                if fields.len() < FIELDS_MAX {
                    fields.push((name.to_owned(), value.to_owned()));
                }
            } else {
                return (Self(fields), rest);
            }
            rest = after;
        }
        (Self(fields), rest)
    }

    /// The first field of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All fields of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Divided where a field of one of these names comes a second time.
    pub(crate) fn divided(self, names: &[&str]) -> Vec<Self> {
        let mut groups = vec![Self::default()];
        for (name, value) in self.0 {
            let divides = names.iter().any(|n| n.eq_ignore_ascii_case(&name));
            let known = groups.last().is_some_and(|group| group.get(&name).is_some());
            if divides && known {
                groups.push(Self::default());
            }
            if let Some(group) = groups.last_mut() {
                group.0.push((name, value));
            }
        }
        groups
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `Name: value`; a name has printable characters only (RFC 5322 2.2).
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end();
    let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
    is_name.then(|| (name, value.trim()))
}

/// The first line without its end, and what follows it.
pub(crate) fn next_line(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    if raw.is_empty() {
        return None;
    }
    let end = raw.iter().position(|&octet| octet == b'\n').unwrap_or(raw.len());
    let line = raw[..end].strip_suffix(b"\r").unwrap_or(&raw[..end]);
    Some((line, raw.get(end + 1..).unwrap_or_default()))
}

/// What Content-Type and its kin say of a part.
#[derive(Debug)]
pub(crate) struct Kind {
    /// `text/plain`, in lower case.
    pub(crate) media_type: String,
    pub(crate) boundary: Option<String>,
    charset: Option<String>,
    encoding: String,
    pub(crate) file_name: Option<String>,
}

impl Kind {
    pub(crate) fn of(fields: &Fields) -> Self {
        let content = parameters(fields.get("Content-Type"));
        let disposition = parameters(fields.get("Content-Disposition"));
        let attribute = |of: &Option<mail_parser::ContentType<'static>>, name: &str| {
            of.as_ref().and_then(|kind| kind.attribute(name)).map(str::to_owned)
        };
        let media_type = content.as_ref().map_or_else(
            || "text/plain".to_owned(),
            |kind| {
                // A parameter whose semicolon was forgotten is no part of the type.
                let subtype = kind.subtype().and_then(|subtype| subtype.split_whitespace().next());
                format!("{}/{}", kind.ctype().trim(), subtype.unwrap_or("plain")).to_ascii_lowercase()
            },
        );
        Self {
            media_type,
            boundary: attribute(&content, "boundary").filter(|boundary| !boundary.is_empty()),
            charset: attribute(&content, "charset"),
            encoding: fields.get("Content-Transfer-Encoding").unwrap_or("").trim().to_ascii_lowercase(),
            file_name: attribute(&disposition, "filename").or_else(|| attribute(&content, "name")),
        }
    }

    /// The octets as they were before they were encoded for transfer; what cannot be decoded stays.
    pub(crate) fn decoded(&self, body: &[u8]) -> Vec<u8> {
        match self.encoding.as_str() {
            "base64" => base64_decode(body),
            "quoted-printable" => quoted_printable_decode(body),
            _ => None,
        }
        .unwrap_or_else(|| body.to_vec())
    }

    /// The part as text.
    pub(crate) fn text(&self, body: &[u8]) -> String {
        let octets = self.decoded(body);
        let declared = self.charset.as_deref().unwrap_or("");
        let charset = if octets.windows(ISO_2022_JP_SHIFT.len()).any(|window| window == ISO_2022_JP_SHIFT) {
            "iso-2022-jp"
        } else if std::str::from_utf8(&octets).is_ok() {
            "utf-8"
        } else {
            declared
        };
        charset_decoder(charset.as_bytes())
            .map_or_else(|| String::from_utf8_lossy(&octets).into_owned(), |decode| decode(&octets))
    }
}

fn parameters(value: Option<&str>) -> Option<mail_parser::ContentType<'static>> {
    let line = format!("{}\n", value?);
    match MessageStream::new(line.as_bytes()).parse_content_type().into_owned() {
        HeaderValue::ContentType(kind) => Some(kind),
        _ => None,
    }
}

/// A field's value with its encoded words read (RFC 2047).
pub(crate) fn decoded_words(value: &str) -> String {
    let line = format!("{value}\n");
    match MessageStream::new(line.as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => value.to_owned(),
    }
}

/// The bodies between a multipart's boundaries, at most so many; none if the boundary never comes.
pub(crate) fn split<'a>(body: &'a [u8], boundary: &str, parts_max: usize) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut began: Option<usize> = None;
    let mut at = 0;
    while let Some((line, after)) = next_line(&body[at..]) {
        let mark = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()));
        if let Some(tail) = mark.map(<[u8]>::trim_ascii).filter(|tail| matches!(*tail, b"" | b"--")) {
            if let Some(began) = began.take() {
                parts.push(&body[began..at]);
            }
            if tail == b"--" || parts.len() >= parts_max {
                return parts;
            }
            began = Some(body.len() - after.len());
        }
        at = body.len() - after.len();
    }
    if let Some(began) = began {
        parts.push(&body[began..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_where_they_end() {
        let check = |raw: &str, names: &[(&str, &str)], rest: &str| {
            let (fields, after) = Fields::read(raw.as_bytes());
            let got: Vec<(&str, &str)> = fields.0.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!((got.as_slice(), after), (names, rest.as_bytes()), "{raw:?}");
        };
        check("A: b\r\nC: d\r\n e\r\n\r\nbody", &[("A", "b"), ("C", "d e")], "body");
        check("A: b\nno field here\n", &[("A", "b")], "no field here\n");
        check("\nbody", &[], "body");
        check("A:\n", &[("A", "")], "");
        check("", &[], "");
    }

    #[test]
    fn parts_are_what_stands_between_boundaries() {
        let check = |body: &str, expected: &[&str]| {
            let parts = split(body.as_bytes(), "b", 3);
            let parts: Vec<&str> = parts.into_iter().map(|part| std::str::from_utf8(part).unwrap()).collect();
            assert_eq!(parts, expected, "{body:?}");
        };
        check("pre\n--b\none\n--b \ntwo\n--b--\nafter", &["one\n", "two\n"]);
        check("--b\r\none\r\n", &["one\r\n"]);
        check("--bc\none\n", &[]);
        check("nothing", &[]);
        check("--b\n--b\n--b\n--b\n--b\n", &["", "", ""]);
    }
}

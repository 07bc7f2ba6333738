//! Fields of a header by their names.

/// Fields of these names with their values, continued lines after a space; the message's lines end with CRLF.
pub(super) fn fields(message: &[u8], names: &[&'static str]) -> Vec<(&'static str, String)> {
    let end = message.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap_or(message.len());
    let header = String::from_utf8_lossy(&message[..end]);
    let mut fields: Vec<(Option<&'static str>, String)> = Vec::new();
    for line in header.split("\r\n") {
        match fields.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => {
                value.push(' ');
                value.push_str(line.trim_start());
            }
            _ => {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                let known = names.iter().find(|known| name.trim_end().eq_ignore_ascii_case(known));
                fields.push((known.copied(), value.to_owned()));
            }
        }
    }
    fields.into_iter().filter_map(|(name, value)| Some((name?, value))).collect()
}

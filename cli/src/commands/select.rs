//! Which messages a command is about: named one by one, or by a tag.

use serde_json::Value;

use crate::client::{Api, ApiError};
use crate::failure::Failure;

/// Most messages one command goes through; a campaign is larger, and is held or recalled by its tag.
const MESSAGES_MAX: usize = 100_000;
/// Messages asked for at once: the most that a page has.
const PAGE: &str = "100";

/// Ids and tags, as arguments.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Selection {
    /// Messages by id
    #[arg(value_name = "ID", value_parser = message_id)]
    ids: Vec<String>,
    /// A message by id; may be repeated
    #[arg(long = "id", value_name = "ID", value_parser = message_id)]
    more_ids: Vec<String>,
    /// Messages with this tag
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Option<Tag>,
}

/// A tag of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// An id as it was typed or pasted; whether there is such a message is the API's to say.
pub(crate) fn message_id(text: &str) -> Result<String, String> {
    let id = text.trim();
    let fits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(id.to_owned()) } else { Err("expected an id such as msg_0123456789abcdefghjkmnpqrs".to_owned()) }
}

/// `release=v42`, or `release:v42` as the API writes it.
pub(crate) fn tag(text: &str) -> Result<Tag, String> {
    match text.split_once(['=', ':']) {
        Some((name, value)) if !name.is_empty() => Ok(Tag { name: name.to_owned(), value: value.to_owned() }),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl Tag {
    /// As in the API's queries.
    pub(crate) fn query(&self) -> String {
        format!("{}:{}", self.name, self.value)
    }
}

impl Selection {
    /// The ids, each once; those of a tag are asked for page by page.
    pub(crate) async fn find(&self, api: &Api) -> Result<Vec<String>, Failure> {
        let mut ids: Vec<String> = Vec::new();
        for id in self.ids.iter().chain(&self.more_ids) {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        if let Some(tag) = &self.tag {
            let found = tagged(api, tag).await?;
            let named = ids.len();
            for id in found {
                if !ids[..named].contains(&id) {
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    }
}

async fn tagged(api: &Api, tag: &Tag) -> Result<Vec<String>, ApiError> {
    let wanted = tag.query();
    let mut ids = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("tag", wanted.as_str()), ("limit", PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page = api.get("v1/messages", &query).await?;
        let on_page = page["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        ids.extend(on_page.iter().filter_map(|message| message["id"].as_str()).map(str::to_owned));
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || on_page.is_empty() || ids.len() >= MESSAGES_MAX {
            return Ok(ids);
        }
    }
}

/// The text of a key, or nothing.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_both_ways() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(tag(text).ok().map(|tag| tag.query()).as_deref(), expected, "{text}");
        };
        check("release=v42", Some("release:v42"));
        check("release:v42", Some("release:v42"));
        check("url=http://a", Some("url:http://a"));
        check("release", None);
        check("=v42", None);
    }
}

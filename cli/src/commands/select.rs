//! Which messages a command is about: named one by one, or by what they have in common.

use std::collections::BTreeSet;

use posthaste_policy::Category;
use serde_json::Value;

use crate::client::view::{Message, Recipient, Status};
use crate::client::{Api, ApiError};
use crate::failure::Failure;

/// Most messages one command goes through; a campaign is larger, and is held or recalled by its tag.
const MESSAGES_MAX: usize = 100_000;
/// Messages asked for at once: the most that a page has.
const PAGE: &str = "100";

/// Ids, or what messages have in common.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Selection {
    /// Messages by id
    #[arg(value_name = "ID", value_parser = message_id, conflicts_with_all = ["tag", "site", "category"])]
    ids: Vec<String>,
    /// A message by id; may be repeated
    #[arg(long = "id", value_name = "ID", value_parser = message_id, conflicts_with_all = ["tag", "site", "category"])]
    more_ids: Vec<String>,
    /// Messages with this tag
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Option<Tag>,
    /// Messages for this site, as the queue names it, or for this domain
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Messages whose latest attempt came to this, such as blocked
    #[arg(long, value_name = "CATEGORY", value_parser = category)]
    category: Option<Category>,
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
    if fits {
        Ok(id.to_owned())
    } else {
        Err("expected an id such as msg_0123456789abcdefghjkmnpqrs".to_owned())
    }
}

/// `release=v42`, or `release:v42` as the API writes it.
pub(crate) fn tag(text: &str) -> Result<Tag, String> {
    match text.split_once(['=', ':']) {
        Some((name, value)) if !name.is_empty() => Ok(Tag { name: name.to_owned(), value: value.to_owned() }),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn category(text: &str) -> Result<Category, String> {
    let names = || Category::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
    Category::parse(text).ok_or_else(|| format!("expected one of {}", names()))
}

impl Tag {
    /// As in the API's queries.
    pub(crate) fn query(&self) -> String {
        format!("{}:{}", self.name, self.value)
    }
}

impl Selection {
    /// The ids, each once. What is not named by its id has to have a recipient that stands in one of `standing`.
    pub(crate) async fn find(&self, api: &Api, standing: &[Status]) -> Result<Vec<String>, Failure> {
        let mut ids: Vec<String> = Vec::new();
        for id in self.ids.iter().chain(&self.more_ids) {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        if !ids.is_empty() {
            return Ok(ids);
        }
        let wanted = Wanted { domains: self.domains(api).await?, category: self.category, standing };
        let tag = self.tag.as_ref().map(Tag::query);
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE)];
            query.extend(tag.as_deref().map(|tag| ("tag", tag)));
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page = api.get("v1/messages", &query).await?;
            after = page["next"].as_str().map(str::to_owned);
            let messages: Vec<Message> = serde_json::from_value(page["messages"].take()).map_err(|_| {
                ApiError::NotTheApi(format!("{} answers, but not as the API does", api.base()))
            })?;
            ids.extend(
                messages.into_iter().filter(|message| wanted.takes(message)).map(|message| message.id),
            );
            if after.is_none() {
                return Ok(ids);
            }
            if ids.len() >= MESSAGES_MAX {
                return Err(Failure::failed(format!(
                    "over {MESSAGES_MAX} messages: hold or recall them by their tag"
                )));
            }
        }
    }

    /// The domains of the site: itself, and those whose mail waits there.
    async fn domains(&self, api: &Api) -> Result<Option<BTreeSet<String>>, ApiError> {
        let Some(site) = &self.site else { return Ok(None) };
        let queue = api.get("v1/queue", &[]).await?;
        let groups = queue["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
        let there = groups
            .iter()
            .filter(|group| group["site"] == **site)
            .filter_map(|group| group["domain"].as_str());
        Ok(Some(there.map(str::to_owned).chain([site.to_ascii_lowercase()]).collect()))
    }
}

/// What a message must be to be meant.
struct Wanted<'a> {
    domains: Option<BTreeSet<String>>,
    category: Option<Category>,
    standing: &'a [Status],
}

impl Wanted<'_> {
    fn takes(&self, message: &Message) -> bool {
        message.recipients.iter().any(|recipient| self.takes_one(recipient))
    }

    fn takes_one(&self, recipient: &Recipient) -> bool {
        let latest = recipient.attempts.last().and_then(|attempt| attempt.category.as_deref());
        self.standing.contains(&recipient.status)
            && self.domains.as_ref().is_none_or(|domains| domains.contains(&recipient.domain))
            && self.category.is_none_or(|category| latest == Some(category.as_str()))
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

    #[test]
    fn a_message_is_meant_if_one_recipient_is() {
        let check =
            |domains: Option<&str>, category: Option<Category>, standing: &[Status], expected: bool| {
                let message: Message =
                    serde_json::from_value(serde_json::json!({"id": "msg_1", "recipients": [
                {"address": "a@one.example", "domain": "one.example", "status": "delivered"},
                {"address": "b@two.example", "domain": "two.example", "status": "bounced",
                 "attempts": [{"category": "greylisted"}, {"category": "blocked"}]}]}))
                    .unwrap();
                let domains = domains.map(|domain| BTreeSet::from([domain.to_owned()]));
                assert_eq!(Wanted { domains, category, standing }.takes(&message), expected);
            };
        let bounced = &[Status::Bounced];
        check(None, None, bounced, true);
        check(None, None, &[Status::Deferred], false);
        check(Some("two.example"), None, bounced, true);
        check(Some("one.example"), None, bounced, false);
        check(None, Some(Category::Blocked), bounced, true);
        check(None, Some(Category::Greylisted), bounced, false);
        check(Some("two.example"), Some(Category::Blocked), bounced, true);
    }
}

//! Puts what cannot be done into a queue of dead letters, with its reason beside it as attributes.

use aws_sdk_sqs::types::MessageAttributeValue;
use aws_smithy_types::error::display::DisplayErrorContext;
use posthaste_aws::Aws;
use posthaste_pipeline::stores::StoreError;

/// Characters of an attribute: enough for any of our sentences, small beside a body.
const CHARS_MAX: usize = 1_000;

/// Puts a body aside as it came.
pub(crate) async fn put(
    aws: &Aws,
    queue: &str,
    body: &str,
    attributes: &[(&str, &str)],
) -> Result<(), StoreError> {
    let unsent = |error: String| StoreError::Unavailable(format!("putting a message aside: {error}"));
    // A queue takes no empty body.
    let body = if body.is_empty() { " " } else { body };
    let mut send = aws.clients().sqs.send_message().queue_url(queue).message_body(body);
    for (name, value) in attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(shown(value)).build();
        send = send.message_attributes(*name, value.map_err(|error| unsent(error.to_string()))?);
    }
    send.send().await.map(drop).map_err(|error| unsent(DisplayErrorContext(error).to_string()))
}

/// What an attribute may hold: some text, without control characters.
fn shown(text: &str) -> String {
    let plain =
        text.chars().map(|c| if c.is_control() || c == '\u{FFFE}' || c == '\u{FFFF}' { ' ' } else { c });
    let text: String = plain.take(CHARS_MAX).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_attribute_is_some_text_without_control_characters() {
        let check = |text: &str, expected: &str| assert_eq!(super::shown(text), expected);
        check("not a job: \u{1}\n", "not a job:   ");
        check("", "-");
        check(&"x".repeat(2_000), &"x".repeat(1_000));
    }
}

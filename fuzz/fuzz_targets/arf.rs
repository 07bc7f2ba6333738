//! Feedback reports: the octets become the machine-readable part and the message it returns, so that the reader gets past
//! the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_feedback::{Report, read};

fuzz_target!(|octets: &[u8]| {
    let half = octets.len() / 2;
    let mut raw = b"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\n\
        Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n"
        .to_vec();
    raw.extend_from_slice(&octets[..half]);
    raw.extend_from_slice(b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n");
    raw.extend_from_slice(&octets[half..]);
    raw.extend_from_slice(b"\r\n--b--\r\n");
    assert!(!matches!(read(&raw), Report::Other | Report::AutoReply));
});

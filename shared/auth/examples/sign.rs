//! How long a signature takes: `cargo run --release -p posthaste-auth --example sign`.

use std::time::Instant;

use posthaste_auth::{Algorithm, PrivateKey, Signer};
use posthaste_mail::Domain;

/// Messages signed for one figure.
const MESSAGES: u32 = 500;
/// Octets of each body.
const BODY: usize = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let domain = Domain::parse("acme.example")?;
    let header = "From: hello@acme.example\r\nTo: ann@example.net\r\nSubject: a message\r\n\
                  Date: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\nMIME-Version: 1.0\r\n\r\n";
    let message = format!("{header}{}", "a line of text that is like any other\r\n".repeat(BODY / 39));
    for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
        let signer = Signer::new(&domain, "s1", &PrivateKey::make(algorithm)?)?;
        let began = Instant::now();
        for _ in 0..MESSAGES {
            signer.sign(message.as_bytes())?;
        }
        let each = began.elapsed() / MESSAGES;
        println!("{}: {} us a message of {} octets", algorithm.as_str(), each.as_micros(), message.len());
    }
    Ok(())
}

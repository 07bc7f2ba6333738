//! What SPF makes of senders, as `doctor` evaluates it: reads lines of IP, HELO and SENDER with tabs between
//! (no sender is the null path), asks the name server that is named, and writes a result a line.
//!
//! `cargo run -p posthaste-auth --example spf -- 127.0.0.1:5353 < senders`

use std::io::{BufRead, Error};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use posthaste_auth::resolver::Asked;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wrong = |what: &str| {
        Error::other(format!("{what}: expected NAME-SERVER, and lines of IP, HELO, SENDER with tabs between"))
    };
    let at: SocketAddr = std::env::args().nth(1).ok_or_else(|| wrong("no name server"))?.parse()?;
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = at.port();
        connection
    });
    let server = NameServerConfig::new(at.ip(), true, connections.into());
    let mut options = ResolverOpts::default();
    (options.timeout, options.attempts, options.cache_size) = (Duration::from_secs(2), 1, 0);
    let resolver = TokioResolver::builder_with_config(
        ResolverConfig::from_name_servers(vec![server]),
        TokioRuntimeProvider::default(),
    )
    .with_options(options)
    .build()?;
    let asked = Asked::new(resolver);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.splitn(3, '\t');
        let mut next = || words.next().ok_or_else(|| wrong(&line));
        let (ip, helo, sender): (IpAddr, &str, &str) = (next()?.parse()?, next()?, next()?);
        println!("{}", asked.sender(ip, sender, helo).await.as_str());
    }
    Ok(())
}

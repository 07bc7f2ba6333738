//! The one place that asks name servers: absolute names only, UDP with TCP after truncation, bounded in time and
//! number, every outcome one of [`Records`] or [`Miss`].

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use posthaste_mail::Domain;
use tokio::sync::Semaphore;

use crate::cache::{Cache, Keep};
use crate::error::RouteError;
use crate::guard::AllowPrivate;
use crate::mx::MailHosts;

/// Answers kept of each kind. A whole MX answer is some 200 octets, at most a few thousand.
const CACHE_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
/// Questions in flight: a cloud's resolver drops what exceeds 1,024 packets a second from one interface.
const QUESTIONS_MAX: usize = 128;
/// Each question is asked at most twice within the time-out; the second goes to another server if there is one.
const RETRIES: usize = 1;
/// Where name servers listen (RFC 1035 4.2).
const DNS_PORT: u16 = 53;
/// Addresses kept of one host: more than are ever tried.
const ADDRESSES_KEPT: usize = 16;

/// Which addresses are connected to: `[smtp] address_families`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// A records only.
    #[default]
    V4,
    /// AAAA records only.
    V6,
    /// Both, of one host the IPv4 addresses first: receivers judge IPv6 senders harder.
    Both,
}

impl Families {
    /// As in "has … address".
    pub(crate) fn article(self) -> &'static str {
        match self {
            Self::V4 => "an IPv4",
            Self::V6 => "an IPv6",
            Self::Both => "an",
        }
    }

    pub(crate) fn contains(self, family: Family) -> bool {
        match family {
            Family::V4 => self != Self::V6,
            Family::V6 => self != Self::V4,
        }
    }
}

/// One address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// What the resolver needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Recursive name servers with their ports; none means the system's.
    pub servers: Vec<SocketAddr>,
    /// Longest time for one question, all retries in it.
    pub timeout: Duration,
    /// Which addresses to look for.
    pub families: Families,
    /// What the guard lets through.
    pub allow_private: AllowPrivate,
    /// Our own host names: MX hosts from there on would send the mail back to us.
    pub own_names: Vec<Domain>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(10),
            families: Families::default(),
            allow_private: AllowPrivate::default(),
            own_names: Vec::new(),
        }
    }
}

/// The resolver could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no name servers can be asked ({0}): check [dns] servers")]
pub struct NoNameServers(String);

/// Looks up routes and remembers the answers. Shared by everything that delivers.
pub struct Resolver {
    pub(crate) families: Families,
    pub(crate) allow_private: AllowPrivate,
    pub(crate) own_names: Vec<Domain>,
    pub(crate) routes: Cache<Domain, Result<Arc<MailHosts>, RouteError>>,
    addresses: Cache<(Domain, Family), Addresses>,
    dns: TokioResolver,
    questions: Semaphore,
    timeout: Duration,
}

/// A host's addresses of one family, shared by all who ask.
type Addresses = Result<Arc<[IpAddr]>, Miss>;

/// Records of the type that was asked for, through CNAMEs if there were any.
pub(crate) struct Records {
    pub(crate) data: Vec<RData>,
    /// The smallest of all records on the way, in seconds.
    pub(crate) ttl_s: u32,
}

/// Why a question brought no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Miss {
    /// NXDOMAIN; how long that holds in seconds, if the zone says so.
    NoSuchName { ttl_s: Option<u32> },
    /// The name exists without such records.
    NoData { ttl_s: Option<u32> },
    /// A server or the network failed, and how.
    Failed(String),
    /// Nobody answered.
    TimedOut,
}

impl Miss {
    /// How long it may be kept.
    pub(crate) fn keep(&self) -> Keep {
        match self {
            Self::NoSuchName { ttl_s } | Self::NoData { ttl_s } => Keep::Absence { ttl_s: *ttl_s },
            Self::Failed(_) | Self::TimedOut => Keep::Failure,
        }
    }

    /// The failure of looking up `name`, if this was one rather than an answer.
    pub(crate) fn failure(&self, name: &Domain) -> Option<RouteError> {
        match self {
            Self::NoSuchName { .. } | Self::NoData { .. } => None,
            Self::Failed(why) => Some(RouteError::DnsFailed { name: name.clone(), why: why.clone() }),
            Self::TimedOut => Some(RouteError::DnsTimedOut { name: name.clone() }),
        }
    }
}

impl Resolver {
    /// Starts with empty caches; asks nobody yet.
    pub fn new(config: &Config) -> Result<Self, NoNameServers> {
        // Ours is the only cache: two would add up each other's TTLs.
        let dns = name_servers(config, 0)?;
        Ok(Self {
            families: config.families,
            allow_private: config.allow_private,
            own_names: config.own_names.clone(),
            routes: Cache::new(CACHE_ENTRIES),
            addresses: Cache::new(CACHE_ENTRIES),
            dns,
            questions: Semaphore::new(QUESTIONS_MAX),
            timeout: config.timeout,
        })
    }

    /// The addresses of one family, unguarded; kept.
    pub(crate) async fn addresses(&self, host: &Domain, family: Family) -> Addresses {
        let ask = || async {
            let kind = match family {
                Family::V4 => RecordType::A,
                Family::V6 => RecordType::AAAA,
            };
            match self.lookup(host, kind).await {
                Ok(records) => {
                    let ips = records.data.iter().filter_map(RData::ip_addr).take(ADDRESSES_KEPT).collect();
                    (Ok(ips), Keep::Records { ttl_s: records.ttl_s })
                }
                Err(miss) => {
                    let keep = miss.keep();
                    (Err(miss), keep)
                }
            }
        };
        self.addresses.get((host.clone(), family), ask).await
    }

    /// One question, not kept.
    pub(crate) async fn lookup(&self, name: &Domain, kind: RecordType) -> Result<Records, Miss> {
        // Waiting in our own line is no time-out of a server's. The semaphore is never closed; if it were, the
        // pool would still be the bound.
        let _permit = self.questions.acquire().await;
        let absolute =
            Name::from_ascii(format!("{name}.")).map_err(|error| Miss::Failed(error.to_string()))?;
        let asked = async {
            match self.dns.lookup(absolute, kind).await {
                Ok(answer) => {
                    let ttl_s = answer.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                    let of_kind = answer.answers().iter().filter(|record| record.record_type() == kind);
                    let data: Vec<_> = of_kind.map(|record| record.data.clone()).collect();
                    if data.is_empty() {
                        Err(Miss::NoData { ttl_s: None })
                    } else {
                        Ok(Records { data, ttl_s })
                    }
                }
                Err(error) => self.explain(error).await,
            }
        };
        // The pool's time-outs are per try and hop; a chain of CNAMEs could add them up.
        match tokio::time::timeout(self.timeout.saturating_mul(2), asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Miss::TimedOut),
        }
    }

    async fn explain(&self, error: NetError) -> Result<Records, Miss> {
        let nothing = match error {
            NetError::Dns(DnsError::NoRecordsFound(nothing)) => nothing,
            NetError::Dns(DnsError::ResponseCode(code)) => {
                return Err(Miss::Failed(format!("the name server said {code}")));
            }
            NetError::Timeout => return Err(Miss::TimedOut),
            other => return Err(Miss::Failed(other.to_string())),
        };
        let ttl_s = nothing.negative_ttl;
        match nothing.response_code {
            ResponseCode::NXDomain => Err(Miss::NoSuchName { ttl_s }),
            // A CNAME that leads nowhere within the hops that are followed looks like "no data", save that
            // there still is a CNAME: a broken zone is no reason to bounce.
            ResponseCode::NoError if nothing.soa.is_none() => {
                let at = nothing.query.name().clone();
                match self.dns.lookup(at, RecordType::CNAME).await {
                    Ok(_) => Err(Miss::Failed("its CNAMEs loop or are too many".to_owned())),
                    Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Err(Miss::NoData { ttl_s }),
                    Err(error) => Err(Miss::Failed(error.to_string())),
                }
            }
            ResponseCode::NoError => Err(Miss::NoData { ttl_s }),
            code => Err(Miss::Failed(format!("the name server said {code}"))),
        }
    }
}

/// The name servers of a configuration as others' libraries take them, with a cache of so many answers.
pub fn name_servers(config: &Config, cached: u64) -> Result<TokioResolver, NoNameServers> {
    let servers = if config.servers.is_empty() {
        system_servers()
    } else {
        config.servers.iter().copied().map(name_server).collect()
    };
    let tries = u32::try_from(RETRIES + 1).unwrap_or(u32::MAX);
    let mut options = ResolverOpts::default();
    options.timeout = config.timeout / tries;
    options.attempts = RETRIES;
    options.cache_size = cached;
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = QUESTIONS_MAX;
    let servers = ResolverConfig::from_name_servers(servers);
    TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| NoNameServers(error.to_string()))
}

/// The system's name servers; without any the one on this machine, as resolv.conf(5) has it.
fn system_servers() -> Vec<NameServerConfig> {
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((system, _)) => system.name_servers().to_vec(),
        Err(error) => {
            tracing::warn!(%error, "the system names no name servers: asking 127.0.0.1");
            vec![name_server(SocketAddr::from(([127, 0, 0, 1], DNS_PORT)))]
        }
    }
}

fn name_server(at: SocketAddr) -> NameServerConfig {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

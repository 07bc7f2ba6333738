//! From a way to an open connection: addresses in order, hosts that are left alone, seats, and the TLS fallback of
//! the stage table. What went wrong at each host is remembered for as long as the table says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use posthaste_mail::Timestamp;
use posthaste_policy::file::{EgressName, RelayHost};
use posthaste_policy::retry::{HostTrouble, PLAINER_FOR, host_trouble, skip_for};
use posthaste_policy::{Smarthost, TlsMode};
use posthaste_route::{AllowPrivate, MailHosts};
use posthaste_smtp::{
    ConnectFailure, Connection, Credentials, Habits, Manner, OpenError, Peer, Session, StartTls,
};
use tokio::time::Instant;

use super::outcome::{Failure, of_all, of_open, of_route};
use super::pacer::{PaceKey, Seat};
use super::way::{To, Way};
use super::wired::{Wired, session_tls};
use super::{Inner, locked};
use crate::meter::{Happened, Wait};

/// An open connection with its seat.
pub(super) struct Line {
    pub connection: Connection,
    pub seat: PaceKey,
    pub host: String,
    pub ip: IpAddr,
    /// Transactions begun on it.
    pub messages: u32,
}

/// Why there is no line.
pub(super) enum NoLine {
    /// All hosts failed.
    Failed(Box<Failure>),
    /// All seats at the site are taken.
    Full,
    /// Our own time was too short.
    OutOfTime,
}

/// What else is to be heeded in this one try.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// Not this address: it said that it does not serve the domain.
    pub not: Option<IpAddr>,
    /// How to speak.
    pub manner: Manner,
}

impl Wish {
    pub const NONE: Wish = Wish { not: None, manner: Manner::Full };
}

/// One address to try.
struct Door {
    host: String,
    addr: SocketAddr,
    seat: PaceKey,
}

impl Door {
    fn peer(&self) -> Peer {
        Peer { host: self.host.clone(), addr: self.addr }
    }
}

impl Inner {
    pub(super) async fn dial(
        &self,
        wired: &Wired,
        way: &Way,
        wish: Wish,
        deadline: Instant,
    ) -> Result<Line, NoLine> {
        let doors = self.doors(wired, way, wish).await.map_err(|f| NoLine::Failed(Box::new(f)))?;
        let auth = self.credentials(way).map_err(|f| NoLine::Failed(Box::new(f)))?;
        let mut session = Session {
            ehlo_name: wired.policy.hostname(&way.egress),
            tls: session_tls(way.tls),
            auth,
            habits: Habits::default(),
        };
        let (mut failures, mut in_clear, mut full) = (Vec::new(), Vec::new(), false);
        for door in doors {
            if self.pacer.sit_down(&door.seat, way.shape.connections).await == Seat::Full {
                full = true;
                continue;
            }
            session.habits = self.habits_of(door.addr, wish.manner);
            match posthaste_smtp::open(&door.peer(), &session, &wired.tls, &wired.timeouts, deadline).await {
                Ok(connection) => return Ok(self.line(door, connection)),
                Err(OpenError::DeadlinePassed) => {
                    self.pacer.stand_up(&door.seat).await;
                    return Err(NoLine::OutOfTime);
                }
                Err(error) => {
                    self.pacer.stand_up(&door.seat).await;
                    failures.push(of_open(&error, &door.host, door.addr.ip(), &wired.classifier));
                    if matches!(error, OpenError::Handshake { .. }) && way.tls == TlsMode::Opportunistic {
                        in_clear.push(door);
                    } else {
                        self.leave_alone(&error, door.addr);
                    }
                }
            }
        }
        // Opportunistic TLS that nobody could shake hands on: in clear, on a new connection (stage table, TLS).
        for door in in_clear {
            if self.pacer.sit_down(&door.seat, way.shape.connections).await == Seat::Full {
                full = true;
                continue;
            }
            session.habits = Habits { starttls: StartTls::Skip, ..self.habits_of(door.addr, wish.manner) };
            match posthaste_smtp::open(&door.peer(), &session, &wired.tls, &wired.timeouts, deadline).await {
                Ok(connection) => return Ok(self.line(door, connection)),
                Err(error) => {
                    self.pacer.stand_up(&door.seat).await;
                    failures.push(of_open(&error, &door.host, door.addr.ip(), &wired.classifier));
                    self.leave_alone(&error, door.addr);
                }
            }
        }
        if failures.is_empty() && full {
            Err(NoLine::Full)
        } else {
            Err(NoLine::Failed(Box::new(of_all(failures))))
        }
    }

    fn line(&self, door: Door, connection: Connection) -> Line {
        let times = connection.times();
        self.ambient.note(Happened::Waited { on: Wait::Connect, took: times.connect });
        if let Some(took) = times.handshake {
            self.ambient.note(Happened::Waited { on: Wait::Handshake, took });
        }
        let habits = connection.habits();
        if habits != Habits::default() {
            self.remember_habits(door.addr, habits);
        }
        Line { connection, seat: door.seat, host: door.host, ip: door.addr.ip(), messages: 0 }
    }

    async fn doors(&self, wired: &Wired, way: &Way, wish: Wish) -> Result<Vec<Door>, Failure> {
        let doors = match &way.to {
            To::Sandbox(hosts) => hosts
                .iter()
                .map(|(host, addr)| Door { host: host.clone(), addr: *addr, seat: key(&way.egress, way) })
                .collect(),
            To::Smarthost(smarthost) => self.smarthost_doors(wired, smarthost, way).await?,
            To::Mx(route) => self.mx_doors(wired, route, way).await?,
        };
        let doors: Vec<Door> =
            doors.into_iter().filter(|door: &Door| Some(door.addr.ip()) != wish.not).collect();
        Ok(self.without_skipped(doors))
    }

    async fn mx_doors(&self, wired: &Wired, route: &MailHosts, way: &Way) -> Result<Vec<Door>, Failure> {
        let seed = u64::from_be_bytes(first_8(self.ambient.chance.octets()));
        let candidates = self.names(wired.resolver.candidates(route, seed)).await;
        let candidates = candidates.map_err(|error| of_route(&error))?;
        let port = wired.policy.smtp.port;
        let door = |c: posthaste_route::Candidate| Door {
            addr: SocketAddr::new(c.ip, port),
            // Limits count at the host about to be connected to: a set that mixes receivers gains nothing.
            seat: PaceKey { egress: way.egress.clone(), site: wired.policy.site_of_host(&c.host, &way.site) },
            host: c.host.to_string(),
        };
        Ok(candidates.into_iter().map(door).collect())
    }

    /// A relay the operator named: a name is looked up, an address is taken as it is but for the guard.
    async fn smarthost_doors(&self, wired: &Wired, to: &Smarthost, way: &Way) -> Result<Vec<Door>, Failure> {
        let door = |ip: IpAddr| Door {
            host: to.host.to_string(),
            addr: SocketAddr::new(ip, to.port),
            seat: key(&way.egress, way),
        };
        let host = match &to.host {
            RelayHost::Name(name) => name.clone(),
            RelayHost::Address(ip, _) => {
                let checked = posthaste_route::guard::check(*ip, AllowPrivate::Yes);
                return checked.map(|()| vec![door(*ip)]).map_err(|forbidden| {
                    let trouble = posthaste_policy::Trouble::NotAllowed { ip: *ip };
                    Failure::of_trouble(
                        &trouble,
                        &format!("the smarthost {ip} is not connected to: {forbidden}"),
                    )
                });
            }
        };
        let seed = u64::from_be_bytes(first_8(self.ambient.chance.octets()));
        let route = MailHosts::smarthost(host.clone(), host);
        let candidates = self.names(wired.resolver.candidates(&route, seed)).await;
        let candidates = candidates.map_err(|error| of_route(&error))?;
        Ok(candidates.into_iter().map(|c| door(c.ip)).collect())
    }

    /// Notes how long names were waited for.
    pub(super) async fn names<T>(&self, look_up: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let found = look_up.await;
        self.ambient.note(Happened::Waited { on: Wait::Names, took: began.elapsed() });
        found
    }

    /// Hosts that are left alone come only where there is no other: a message whose time has come is tried.
    fn without_skipped(&self, doors: Vec<Door>) -> Vec<Door> {
        let now = self.ambient.now();
        let skips = locked(&self.skips);
        let (usable, skipped): (Vec<_>, Vec<_>) =
            doors.into_iter().partition(|door| skips.is_skipped(door.addr, now).is_none());
        if usable.is_empty() { skipped } else { usable }
    }

    fn leave_alone(&self, error: &OpenError, addr: SocketAddr) {
        let trouble = match error {
            OpenError::Connect { how: ConnectFailure::TimedOut } => HostTrouble::ConnectTimedOut,
            OpenError::Connect { .. } => HostTrouble::Refused,
            OpenError::Replied { stage, reply } => {
                host_trouble(*stage, reply).unwrap_or(HostTrouble::Transient)
            }
            OpenError::Lost { .. } => HostTrouble::Broken,
            OpenError::NoTls { .. }
            | OpenError::Handshake { .. }
            | OpenError::Injected
            | OpenError::NoAuth { .. } => HostTrouble::NoTls,
            OpenError::DeadlinePassed => return,
        };
        let until: Timestamp = self.ambient.now().plus(skip_for(trouble));
        locked(&self.skips).skip(addr, until, ());
    }

    fn habits_of(&self, addr: SocketAddr, manner: Manner) -> Habits {
        let now = self.ambient.now();
        let known =
            locked(&self.habits).get(&addr).filter(|(_, until)| now < *until).map(|(habits, _)| *habits);
        let habits = known.unwrap_or_default();
        if manner == Manner::Plain { Habits { manner, ..habits } } else { habits }
    }

    /// For a day: a host that cannot bear what it offers will not learn it by noon.
    pub(super) fn remember_habits(&self, addr: SocketAddr, habits: Habits) {
        const HOSTS_REMEMBERED: usize = 10_000;
        let now = self.ambient.now();
        let mut known = locked(&self.habits);
        if known.len() >= HOSTS_REMEMBERED {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < HOSTS_REMEMBERED {
            known.insert(addr, (habits, now.plus(PLAINER_FOR)));
        }
    }

    fn credentials(&self, way: &Way) -> Result<Option<Credentials>, Failure> {
        let To::Smarthost(Smarthost { auth_secret: Some(name), username, .. }) = &way.to else {
            return Ok(None);
        };
        let secret = (self.network.secrets)(name)
            .ok_or_else(|| Failure::no_credentials(format!("the secret `{name}` is not there")))?;
        // Without a username the secret holds both, as `user:password`.
        let (username, password) = match (username, secret.split_once(':')) {
            (Some(username), _) => (username.clone(), secret),
            (None, Some((username, password))) => (username.to_owned(), password.to_owned()),
            (None, None) => {
                let detail = format!(
                    "the secret `{name}` is not of the form user:password, and the route names no username"
                );
                return Err(Failure::no_credentials(detail));
            }
        };
        Ok(Some(Credentials { username, password }))
    }

    /// Closes a line and gives its seat back.
    pub(super) async fn hang_up(&self, line: Line) {
        line.connection.quit().await;
        self.pacer.stand_up(&line.seat).await;
    }
}

fn key(egress: &EgressName, way: &Way) -> PaceKey {
    PaceKey { egress: egress.clone(), site: way.site.clone() }
}

fn first_8(octets: [u8; 16]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&octets[..8]);
    first
}

/// How long a site that nobody could be reached at is not tried again: as long as finding that out took, so that a
/// refusal costs a second and a time-out does not hold every worker in turn.
pub(super) fn down_for(took: Duration) -> Duration {
    took.clamp(Duration::from_secs(1), Duration::from_secs(30))
}

//! From a way to an open connection: addresses in order, hosts that are left alone, seats, and the TLS fallback of
//! the stage table. What went wrong at each host is remembered for as long as the table says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::{Domain, Lane, Timestamp};
use posthaste_policy::file::RelayHost;
use posthaste_policy::retry::{HostTrouble, PLAINER_FOR, host_trouble, skip_for};
use posthaste_policy::standing::Gate;
use posthaste_policy::{Smarthost, TlsMode};
use posthaste_route::{AllowPrivate, MailHosts};
use posthaste_smtp::{
    ConnectFailure, Connection, Credentials, Habits, Manner, OpenError, Peer, Session, StartTls,
};
use tokio::time::Instant;

use super::outcome::{Failure, of_all, of_open, of_route};
use super::place::{Place, Terms};
use super::seat::{FULL_FOR, NoSeat, SeatHeld};
use super::trunk::Probe;
use super::way::{To, Way};
use super::wired::{Wired, session_tls};
use super::{Inner, locked};
use crate::meter::{Happened, Wait};
use crate::pacer::PaceKey;

/// An open connection with its seat.
pub(super) struct Line {
    pub connection: Connection,
    /// Its leave to exist; none in the sandbox.
    pub seat: Option<Arc<SeatHeld>>,
    /// What is known of the receiver it is a connection to, and what that one may be given.
    pub site: Place,
    pub host: String,
    pub ip: IpAddr,
    /// Transactions begun on it.
    pub messages: u32,
    /// Transactions it is to carry at most.
    pub messages_max: u32,
}

/// Why there is no line.
pub(super) enum NoLine {
    /// All hosts failed.
    Failed(Box<Failure>),
    /// Where one might be had there are as many as there may be, or none for now: not before then.
    Later(Timestamp),
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
    /// Whose connection it is to be.
    pub lane: Lane,
    /// Whether a receiver that is closed is tried.
    pub probe: Probe,
}

/// One address to try.
struct Door {
    host: String,
    addr: SocketAddr,
    site: Place,
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
        let (mut failures, mut in_clear, mut later) = (Vec::new(), Vec::new(), None::<Timestamp>);
        for door in doors {
            let (seat, messages) = match self.enter(&door.site, way, wish).await {
                Ok(seat) => seat,
                Err(at) => {
                    later = Some(later.map_or(at, |known| known.min(at)));
                    continue;
                }
            };
            session.habits = self.habits_of(door.addr, wish.manner);
            match posthaste_smtp::open(&door.peer(), &session, &wired.tls, &wired.timeouts, deadline).await {
                Ok(connection) => return Ok(self.line(door, seat, messages, connection)),
                Err(OpenError::DeadlinePassed) => {
                    self.leave_seat(seat).await;
                    return Err(NoLine::OutOfTime);
                }
                Err(error) => {
                    self.leave_seat(seat).await;
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
            let (seat, messages) = match self.enter(&door.site, way, wish).await {
                Ok(seat) => seat,
                Err(at) => {
                    later = Some(later.map_or(at, |known| known.min(at)));
                    continue;
                }
            };
            session.habits = Habits { starttls: StartTls::Skip, ..self.habits_of(door.addr, wish.manner) };
            match posthaste_smtp::open(&door.peer(), &session, &wired.tls, &wired.timeouts, deadline).await {
                Ok(connection) => return Ok(self.line(door, seat, messages, connection)),
                Err(error) => {
                    self.leave_seat(seat).await;
                    failures.push(of_open(&error, &door.host, door.addr.ip(), &wired.classifier));
                    self.leave_alone(&error, door.addr);
                }
            }
        }
        match later {
            // A host that was not asked may take it: those that were say nothing of the message.
            Some(at) => Err(NoLine::Later(at)),
            None => Err(NoLine::Failed(Box::new(of_all(failures)))),
        }
    }

    /// Leave for one connection to a host, or when to ask again.
    async fn enter(
        &self,
        site: &Place,
        way: &Way,
        wish: Wish,
    ) -> Result<(Option<Arc<SeatHeld>>, u32), Timestamp> {
        let allowed = self.allowed(site, None).await?;
        let messages = allowed.messages_per_connection.max(1);
        let Some(paced) = &site.paced else { return Ok((None, messages)) };
        let is_own = way.pace.as_ref() == Some(&paced.key);
        match allowed.gate {
            // Whose gate is open is known before; that of another receiver's host is found closed here.
            Gate::Closed { until, .. } if !is_own || wish.probe == Probe::No => return Err(until),
            Gate::Probe if !is_own => {
                if !self.paces.probes(paced, None).await.unwrap_or(false) {
                    return Err(self.ambient.now().plus(FULL_FOR));
                }
            }
            Gate::Closed { .. } | Gate::Probe | Gate::Open => {}
        }
        match self.sit(paced, wish.lane, &allowed, &site.limits(&self.ambient.policy.get())).await {
            Ok(seat) => Ok((Some(seat), messages)),
            Err(NoSeat::Later(at)) => Err(at),
            Err(NoSeat::Store(error)) => Err(self.pacer_failed(&error)),
        }
    }

    async fn leave_seat(&self, seat: Option<Arc<SeatHeld>>) {
        if let Some(seat) = seat {
            self.rise(&seat).await;
        }
    }

    fn line(
        &self,
        door: Door,
        seat: Option<Arc<SeatHeld>>,
        messages_max: u32,
        connection: Connection,
    ) -> Line {
        let times = connection.times();
        self.ambient.note(Happened::Waited { on: Wait::Connect, took: times.connect });
        if let Some(took) = times.handshake {
            self.ambient.note(Happened::Waited { on: Wait::Handshake, took });
        }
        let habits = connection.habits();
        if habits != Habits::default() {
            self.remember_habits(door.addr, habits);
        }
        Line {
            connection,
            seat,
            site: door.site,
            host: door.host,
            ip: door.addr.ip(),
            messages: 0,
            messages_max,
        }
    }

    async fn doors(&self, wired: &Wired, way: &Way, wish: Wish) -> Result<Vec<Door>, Failure> {
        let doors = match &way.to {
            To::Sandbox(hosts) => hosts
                .iter()
                .map(|(host, addr)| Door { host: host.clone(), addr: *addr, site: self.own_place(way) })
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
            site: self.place_at(wired, &c.host, way),
            host: c.host.to_string(),
        };
        Ok(candidates.into_iter().map(door).collect())
    }

    /// The receiver that a way leads to.
    pub(super) fn own_place(&self, way: &Way) -> Place {
        let terms = Terms {
            policy: way.policy.clone(),
            limits: way.limits.clone(),
            site: way.site.clone(),
            hosts: way.hosts.clone(),
            domain: way.domain.clone(),
        };
        Place { paced: way.pace.as_ref().map(|key| self.paces.of(key)), terms: Arc::new(terms) }
    }

    /// Limits count at the host about to be connected to: a set that mixes receivers gains nothing.
    fn place_at(&self, wired: &Wired, host: &Domain, way: &Way) -> Place {
        let site = wired.policy.site_of_host(host, &way.site);
        match &way.pace {
            Some(own) if site != way.site => {
                let hosts = std::slice::from_ref(host);
                let place = posthaste_policy::Place { site: &site, hosts, domain: &way.domain };
                let limits = Arc::new(wired.policy.limits(&place));
                let key = PaceKey { site: site.clone(), ..own.clone() };
                let (policy, domain) = (wired.policy.clone(), way.domain.clone());
                let terms = Terms { policy, limits, site, hosts: hosts.to_vec(), domain };
                Place { paced: Some(self.paces.of(&key)), terms: Arc::new(terms) }
            }
            _ => self.own_place(way),
        }
    }

    /// A relay the operator named: a name is looked up, an address is taken as it is but for the guard.
    async fn smarthost_doors(&self, wired: &Wired, to: &Smarthost, way: &Way) -> Result<Vec<Door>, Failure> {
        let door = |ip: IpAddr| Door {
            host: to.host.to_string(),
            addr: SocketAddr::new(ip, to.port),
            site: self.own_place(way),
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
        self.leave_seat(line.seat).await;
    }
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

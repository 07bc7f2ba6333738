//! A name server for tests: UDP and TCP on one loopback port, a zone written as lines, and a log of questions.
//!
//! Lines are `name ttl TYPE data` for A, AAAA, MX and CNAME, and `name SERVFAIL|REFUSED|SILENT [TYPE]` or
//! `name TRUNCATED` for names that misbehave. Names without a line do not exist. CNAMEs are answered alone, as an
//! authoritative server for one zone does; whoever asks has to follow them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// How long absences may be kept in seconds.
pub(crate) const NEGATIVE_TTL_S: u32 = 60;

/// A running name server; gone when dropped.
pub(crate) struct Zone {
    pub(crate) at: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Udp,
    Tcp,
}

impl Zone {
    pub(crate) async fn serve(lines: &[&str]) -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // Another socket may hold the same number for UDP; then the next one.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let at = udp.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&shared)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&shared)));
        let zone = Self { at, shared, _tasks: tasks };
        zone.set(lines);
        zone
    }

    /// Replaces the whole zone.
    pub(crate) fn set(&self, lines: &[&str]) {
        *self.shared.lines.lock().unwrap() = lines.iter().map(|line| (*line).to_owned()).collect();
    }

    /// How often `name TYPE` was asked, over either transport.
    pub(crate) fn asked(&self, question: &str) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|asked| *asked == question).count()
    }
}

async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; 2048];
    loop {
        let (len, peer) = socket.recv_from(&mut buffer).await.unwrap();
        if let Some(answer) = shared.answer(&buffer[..len], Transport::Udp) {
            socket.send_to(&answer, peer).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_stream(stream, Arc::clone(&shared)));
    }
}

async fn serve_stream(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Ok(len) = stream.read_u16().await {
        let mut question = vec![0; usize::from(len)];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        if let Some(answer) = shared.answer(&question, Transport::Tcp) {
            let len = u16::try_from(answer.len()).unwrap();
            stream.write_all(&[&len.to_be_bytes()[..], &answer].concat()).await.unwrap();
        }
    }
}

impl Shared {
    fn answer(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let kind = query.query_type();
        let name = query.name().to_ascii().trim_end_matches('.').to_lowercase();
        self.asked.lock().unwrap().push(format!("{name} {kind}"));
        let lines = self.lines.lock().unwrap();
        let lines: Vec<Vec<&str>> = lines
            .iter()
            .map(|line| line.split(' ').collect())
            .filter(|line: &Vec<_>| line[0] == name)
            .collect();

        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        for line in &lines {
            let meant = line.get(2).is_none_or(|only| *only == kind.to_string());
            match line[1] {
                "SERVFAIL" if meant => answer.metadata.response_code = ResponseCode::ServFail,
                "REFUSED" if meant => answer.metadata.response_code = ResponseCode::Refused,
                "SILENT" if meant => return None,
                "TRUNCATED" if transport == Transport::Udp => {
                    answer.metadata.truncation = true;
                    return Some(answer.to_vec().unwrap());
                }
                _ => {}
            }
        }
        if answer.metadata.response_code == ResponseCode::NoError {
            fill(&mut answer, &query, &lines);
        }
        Some(answer.to_vec().unwrap())
    }
}

fn fill(answer: &mut Message, query: &Query, lines: &[Vec<&str>]) {
    let owner = query.name().clone();
    for line in lines.iter().filter(|line| line.len() >= 4) {
        if line[2] == query.query_type().to_string() || line[2] == "CNAME" {
            answer.add_answer(Record::from_rdata(owner.clone(), line[1].parse().unwrap(), data(line)));
        }
    }
    if answer.answers.is_empty() {
        if lines.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        let soa = SOA::new(absolute("ns.test."), absolute("ops.test."), 1, 60, 60, 60, NEGATIVE_TTL_S);
        answer.add_authority(Record::from_rdata(absolute("test."), 3600, RData::SOA(soa)));
    }
}

fn data(line: &[&str]) -> RData {
    match line[2].parse::<RecordType>().unwrap() {
        RecordType::A => RData::A(A(line[3].parse().unwrap())),
        RecordType::AAAA => RData::AAAA(AAAA(line[3].parse().unwrap())),
        RecordType::CNAME => RData::CNAME(CNAME(absolute(line[3]))),
        RecordType::MX => RData::MX(MX::new(line[3].parse().unwrap(), absolute(line[4]))),
        other => panic!("no {other} in test zones"),
    }
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).unwrap()
}

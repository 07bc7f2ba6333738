//! The address guard: which addresses a stranger's zone may make us connect to.
//!
//! Whoever owns a domain chooses where its MX points: without this, mail is a way to make a server inside a
//! private network speak to its neighbours. Never resolves anything: the connection must go to the very address
//! that was checked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `[smtp] allow_private_addresses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AllowPrivate {
    /// Only what is reachable over the public internet.
    #[default]
    No,
    /// Also loopback, private and test networks, for development and for receivers on one's own network.
    Yes,
}

/// What kind of forbidden address it is. Ranges: IANA's special-purpose registries (RFC 6890).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// `0.0.0.0`, `::`: connects to this very host on most systems.
    Unspecified,
    /// The rest of 0/8 (RFC 791).
    ThisNetwork,
    /// 127/8, `::1`.
    Loopback,
    /// 10/8, 172.16/12, 192.168/16 (RFC 1918).
    Private,
    /// fc00::/7 (RFC 4193) and the site-local fec0::/10 before it (RFC 3879).
    UniqueLocal,
    /// 100.64/10 behind carrier NAT (RFC 6598).
    CarrierNat,
    /// 169.254/16 (RFC 3927), fe80::/10.
    LinkLocal,
    /// A cloud's metadata service, which hands out credentials.
    Metadata,
    /// 224/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// Examples in documents (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// Test benches (RFC 2544, RFC 5180).
    Benchmarking,
    /// Never assigned to hosts: 240/4, 192.0.0/24, 192.88.99/24, everything outside 2000::/3.
    Reserved,
    /// An IPv4 address in IPv6 clothes (`::ffff:0:0/96`), which no zone has a reason to hold.
    Mapped,
    /// 64:ff9b::/96 (RFC 6052) and 64:ff9b:1::/48 (RFC 8215): a translator would take it anywhere.
    Nat64,
    /// 2002::/16 (RFC 3056) around a forbidden IPv4 address.
    SixToFour,
    /// 2001::/32 (RFC 4380) around a forbidden IPv4 address.
    Teredo,
}

impl Why {
    /// Whether [`AllowPrivate::Yes`] lets it through. Link-local and metadata addresses stay closed: no receiver
    /// lives there, and credentials do. Documentation ranges are stand-ins for dead hosts in test zones.
    fn is_private(self) -> bool {
        matches!(
            self,
            Self::Loopback
                | Self::Private
                | Self::UniqueLocal
                | Self::CarrierNat
                | Self::Documentation
                | Self::Benchmarking
        )
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::ThisNetwork => "in 0.0.0.0/8",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::UniqueLocal => "unique local",
            Self::CarrierNat => "carrier-grade NAT",
            Self::LinkLocal => "link-local",
            Self::Metadata => "a metadata service",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "for documentation",
            Self::Benchmarking => "for benchmarks",
            Self::Reserved => "reserved",
            Self::Mapped => "IPv4-mapped",
            Self::Nat64 => "NAT64",
            Self::SixToFour => "6to4 around a forbidden address",
            Self::Teredo => "Teredo around a forbidden address",
        })
    }
}

/// An address that is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{ip} is {why}")]
pub struct Forbidden {
    /// The address.
    pub ip: IpAddr,
    /// Its kind.
    pub why: Why,
}

/// Whether this address may be connected to.
pub fn check(ip: IpAddr, allow: AllowPrivate) -> Result<(), Forbidden> {
    let why = match ip {
        IpAddr::V4(v4) => of_v4(v4).filter(|why| !passes(*why, allow)),
        IpAddr::V6(v6) => of_v6(v6, allow),
    };
    why.map_or(Ok(()), |why| Err(Forbidden { ip, why }))
}

fn passes(why: Why, allow: AllowPrivate) -> bool {
    allow == AllowPrivate::Yes && why.is_private()
}

/// AWS and most clouds; ECS tasks and EKS pods; Alibaba; Oracle's older one.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// EC2 and EKS.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)];

fn of_v4(ip: Ipv4Addr) -> Option<Why> {
    if METADATA_V4.contains(&ip) {
        return Some(Why::Metadata);
    }
    Some(match ip.octets() {
        [0, 0, 0, 0] => Why::Unspecified,
        [0, ..] => Why::ThisNetwork,
        [127, ..] => Why::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Why::Private,
        [100, 64..=127, ..] => Why::CarrierNat,
        [169, 254, ..] => Why::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Why::Documentation,
        [198, 18..=19, ..] => Why::Benchmarking,
        [192, 0, 0, _] | [192, 88, 99, _] => Why::Reserved,
        [224..=239, ..] => Why::Multicast,
        [255, 255, 255, 255] => Why::Broadcast,
        [240..=255, ..] => Why::Reserved,
        _ => return None,
    })
}

fn of_v6(ip: Ipv6Addr, allow: AllowPrivate) -> Option<Why> {
    if METADATA_V6.contains(&ip) {
        return Some(Why::Metadata);
    }
    let segments = ip.segments();
    let embedded = |at: usize| {
        let [a, b] = segments[at].to_be_bytes();
        let [c, d] = segments[at + 1].to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    // Whether what the address wraps may be connected to under the same rule.
    let inner_passes = |inner: Ipv4Addr| of_v4(inner).is_none_or(|why| passes(why, allow));
    let wrapped =
        |why: Why, inner: Ipv4Addr| (allow == AllowPrivate::No || !inner_passes(inner)).then_some(why);
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Why::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Why::Loopback).filter(|why| !passes(*why, allow)),
        [0, 0, 0, 0, 0, 0xffff, ..] => wrapped(Why::Mapped, embedded(6)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => wrapped(Why::Nat64, embedded(6)),
        [0x64, 0xff9b, 1, ..] => Some(Why::Nat64),
        [0xfe80..=0xfebf, ..] => Some(Why::LinkLocal),
        [0xfec0..=0xfeff, ..] | [0xfc00..=0xfdff, ..] => {
            Some(Why::UniqueLocal).filter(|why| !passes(*why, allow))
        }
        [0xff00..=0xffff, ..] => Some(Why::Multicast),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            Some(Why::Documentation).filter(|why| !passes(*why, allow))
        }
        [0x2001, 2, 0, ..] => Some(Why::Benchmarking).filter(|why| !passes(*why, allow)),
        // Teredo holds its server's address as it is and its client's inverted (RFC 4380 4).
        [0x2001, 0, ..] => {
            let client = Ipv4Addr::from(!u32::from(embedded(6)));
            (!inner_passes(embedded(2)) || !inner_passes(client)).then_some(Why::Teredo)
        }
        [0x2001, 0x1..=0x1ff, ..] => Some(Why::Reserved),
        [0x2002, ..] => (!inner_passes(embedded(1))).then_some(Why::SixToFour),
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Why::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_connected_to() {
        // What stands there without and with allow_private_addresses; `-` passes.
        let check = |ip: &str, no: &str, yes: &str| {
            for (allow, expected) in [(AllowPrivate::No, no), (AllowPrivate::Yes, yes)] {
                let got = super::check(ip.parse().unwrap(), allow);
                let got = got.err().map_or("-".to_owned(), |forbidden| format!("{:?}", forbidden.why));
                assert_eq!(got, expected, "{ip} with {allow:?}");
            }
        };
        check("8.8.8.8", "-", "-");
        check("172.15.255.255", "-", "-");
        check("172.32.0.0", "-", "-");
        check("100.63.255.255", "-", "-");
        check("100.128.0.0", "-", "-");
        check("223.255.255.255", "-", "-");
        check("0.0.0.0", "Unspecified", "Unspecified");
        check("0.1.2.3", "ThisNetwork", "ThisNetwork");
        check("127.0.0.1", "Loopback", "-");
        check("127.255.255.254", "Loopback", "-");
        check("10.1.2.3", "Private", "-");
        check("172.16.0.1", "Private", "-");
        check("172.31.255.255", "Private", "-");
        check("192.168.1.1", "Private", "-");
        check("100.64.0.1", "CarrierNat", "-");
        check("100.127.255.255", "CarrierNat", "-");
        check("169.254.1.1", "LinkLocal", "LinkLocal");
        check("169.254.169.254", "Metadata", "Metadata");
        check("100.100.100.200", "Metadata", "Metadata");
        check("192.0.0.8", "Reserved", "Reserved");
        check("192.0.2.1", "Documentation", "-");
        check("198.51.100.7", "Documentation", "-");
        check("203.0.113.9", "Documentation", "-");
        check("198.19.0.1", "Benchmarking", "-");
        check("224.0.0.251", "Multicast", "Multicast");
        check("239.255.255.250", "Multicast", "Multicast");
        check("240.0.0.1", "Reserved", "Reserved");
        check("255.255.255.255", "Broadcast", "Broadcast");

        check("2a00:1450:4001::1a", "-", "-");
        check("::", "Unspecified", "Unspecified");
        check("::1", "Loopback", "-");
        check("::7f00:1", "Reserved", "Reserved");
        check("::ffff:127.0.0.1", "Mapped", "-");
        check("::ffff:8.8.8.8", "Mapped", "-");
        check("::ffff:169.254.169.254", "Mapped", "Mapped");
        check("64:ff9b::10.0.0.1", "Nat64", "-");
        check("64:ff9b::8.8.8.8", "Nat64", "-");
        check("64:ff9b::a9fe:a9fe", "Nat64", "Nat64");
        check("64:ff9b:1::8.8.8.8", "Nat64", "Nat64");
        check("fe80::1", "LinkLocal", "LinkLocal");
        check("fd12:3456::1", "UniqueLocal", "-");
        check("fec0::1", "UniqueLocal", "-");
        check("fd00:ec2::254", "Metadata", "Metadata");
        check("ff02::1", "Multicast", "Multicast");
        check("2001:db8::1", "Documentation", "-");
        check("3fff:fff::1", "Documentation", "-");
        check("2001:2::1", "Benchmarking", "-");
        check("2001:20::1", "Reserved", "Reserved");
        check("2002:808:808::1", "-", "-");
        check("2002:7f00:1::1", "SixToFour", "-");
        check("2002:a9fe:a9fe::1", "SixToFour", "SixToFour");
        // Server 8.8.8.8; client 8.8.4.4, then 10.0.0.1, inverted.
        check("2001:0:808:808:0:0:f7f7:fbfb", "-", "-");
        check("2001:0:808:808:0:0:f5ff:fffe", "Teredo", "-");
        check("2001:0:a9fe:a9fe:0:0:f7f7:fbfb", "Teredo", "Teredo");
        check("4000::1", "Reserved", "Reserved");
        check("100::1", "Reserved", "Reserved");
    }
}

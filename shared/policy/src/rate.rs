//! Rates as operators write them (`20/s`, `600/m`, `5000/h`, `unlimited`) and the interval each stands for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most units a rate may name per period: beyond it an interval of microseconds says nothing any more.
pub const RATE_COUNT_MAX: u32 = 1_000_000;

/// So many per period, evenly spread, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rate {
    /// No limit at all.
    Unlimited,
    /// `count` in each period; never zero.
    Per {
        /// How many, 1 to 1,000,000.
        count: u32,
        /// In what time.
        period: Period,
    },
}

crate::names::named! {
    /// The unit after the slash.
    Period {
        /// A second.
        Second = "s",
        /// A minute.
        Minute = "m",
        /// An hour.
        Hour = "h",
        /// A day.
        Day = "d",
    }
}

impl Period {
    /// Its length in microseconds.
    pub fn micros(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }
}

impl Rate {
    /// So many a second.
    pub const fn per_second(count: u32) -> Self {
        Self::Per { count, period: Period::Second }
    }

    /// So many a minute.
    pub const fn per_minute(count: u32) -> Self {
        Self::Per { count, period: Period::Minute }
    }

    /// Reads `20/s`, `600/m`, `5000/h`, `1000/d` or `unlimited`; the error says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let expected = || {
            format!(
                "`{text}` is not a rate: write \"20/s\", \"600/m\", \"5000/h\", \"1000/d\" or \"unlimited\""
            )
        };
        let (count, period) = text.split_once('/').ok_or_else(expected)?;
        let period = match period.trim() {
            "s" | "sec" | "second" => Period::Second,
            "m" | "min" | "minute" => Period::Minute,
            "h" | "hour" => Period::Hour,
            "d" | "day" => Period::Day,
            _ => return Err(expected()),
        };
        match count.trim().replace('_', "").parse::<u32>() {
            Ok(0) => Err(format!(
                "`{text}` would let nothing through: suspend the site, or hold the mail, instead"
            )),
            Ok(count) if count <= RATE_COUNT_MAX => Ok(Self::Per { count, period }),
            Ok(_) => Err(format!("`{text}` is over {RATE_COUNT_MAX} a period: write \"unlimited\"")),
            Err(_) => Err(expected()),
        }
    }

    /// Microseconds from one unit to the next, rounded up so that the rate is never exceeded; 0 without limit.
    pub fn interval_us(self) -> i64 {
        match self {
            Self::Unlimited => 0,
            Self::Per { count, period } => (period.micros() + i64::from(count) - 1) / i64::from(count.max(1)),
        }
    }

    /// Units a second; infinite without limit. For showing and estimating, never for pacing.
    pub fn a_second(self) -> f64 {
        match self {
            Self::Unlimited => f64::INFINITY,
            Self::Per { count, period } => f64::from(count) * 1e6 / period.micros() as f64,
        }
    }

    /// The slower of two.
    #[must_use]
    pub fn slower(self, other: Self) -> Self {
        let mine_is_slower = match (self, other) {
            (Self::Unlimited, _) => false,
            (_, Self::Unlimited) => true,
            _ => self.interval_us() >= other.interval_us(),
        };
        if mine_is_slower { self } else { other }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Per { count, period } => write!(f, "{count}/{period}"),
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_have_an_interval() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(Rate::parse(text).ok().map(Rate::interval_us), expected, "{text}");
        };
        check("20/s", Some(50_000));
        check("600/m", Some(100_000));
        check("5000/h", Some(720_000));
        check("1/d", Some(86_400_000_000));
        check("3/s", Some(333_334));
        check("unlimited", Some(0));
        check("20 / min", Some(3_000_000));
        check("0/s", None);
        check("20", None);
        check("20/w", None);
        check("-1/s", None);
        check("2000000/s", None);
        check("1.5/s", None);
    }

    #[test]
    fn the_slower_of_two_rates_is_told() {
        let check = |a: &str, b: &str, expected: &str| {
            let (a, b) = (Rate::parse(a).unwrap(), Rate::parse(b).unwrap());
            assert_eq!(a.slower(b).to_string(), expected);
            assert_eq!(b.slower(a).to_string(), expected);
        };
        check("20/s", "600/m", "600/m");
        check("20/s", "unlimited", "20/s");
        check("unlimited", "unlimited", "unlimited");
    }
}

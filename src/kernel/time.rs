//! Instants and durations, both in whole microseconds.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, date};
use jiff::fmt::temporal::Pieces;

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// An instant: microseconds since 1970-01-01 UTC. What enters Freshet lies within the years 0001 to 9999
/// ([`EventTime::from_micros`]), so that no sum of an instant and a [`Micros`] overflows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

impl EventTime {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: EventTime = EventTime(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: EventTime = EventTime(253_402_300_799_999_999);

    /// `None` outside the years 0001 to 9999.
    pub fn from_micros(micros: i64) -> Option<EventTime> {
        let instant = EventTime(micros);
        (EventTime::MIN <= instant && instant <= EventTime::MAX).then_some(instant)
    }

    /// For an instant that Freshet wrote itself, or that a hop or a window moved out of the checked years.
    pub(crate) const fn unchecked(micros: i64) -> EventTime {
        EventTime(micros)
    }

    /// Of a time in UTC, floored to the microsecond; `None` outside the years 0001 to 9999.
    pub fn of_civil(civil: DateTime) -> Option<EventTime> {
        EventTime::of_nanos(civil.duration_since(EPOCH).as_nanos())
    }

    /// Of nanoseconds since 1970, floored to the microsecond; `None` outside the years 0001 to 9999.
    pub fn of_nanos(nanos: i128) -> Option<EventTime> {
        i64::try_from(nanos.div_euclid(1_000)).ok().and_then(EventTime::from_micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Rounded down to a multiple of `hop`, towards minus infinity: also before 1970.
    pub fn floor(self, hop: Micros) -> EventTime {
        EventTime(self.0.div_euclid(hop.0) * hop.0)
    }

    /// Rounded down to the whole millisecond: the grain of ingestion times.
    pub fn floor_to_millis(self) -> EventTime {
        self.floor(Micros::from_millis(1))
    }

    /// The signed distance from `earlier` to this instant.
    pub fn since(self, earlier: EventTime) -> Micros {
        Micros(self.0 - earlier.0)
    }
}

impl std::ops::Add<Micros> for EventTime {
    type Output = EventTime;

    fn add(self, duration: Micros) -> EventTime {
        EventTime(self.0.saturating_add(duration.0))
    }
}

impl std::ops::Sub<Micros> for EventTime {
    type Output = EventTime;

    fn sub(self, duration: Micros) -> EventTime {
        EventTime(self.0.saturating_sub(duration.0))
    }
}

/// RFC 3339 in UTC with `Z`, and as many decimals as the instant needs: none, three or six.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = if self.0 % 1_000_000 == 0 {
            0
        } else if self.0 % 1_000 == 0 {
            3
        } else {
            6
        };
        match EPOCH.checked_add(SignedDuration::from_micros(self.0)) {
            Ok(civil) => write!(f, "{civil:.precision$}Z"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339, floored to the microsecond.
impl FromStr for EventTime {
    type Err = String;

    fn from_str(text: &str) -> Result<EventTime, String> {
        let nanos = nanos_since_epoch(text)
            .ok_or_else(|| format!("`{text}` is not an RFC 3339 time such as `2026-11-21T10:00:00Z`"))?;
        EventTime::of_nanos(nanos).ok_or_else(|| format!("`{text}` is outside the years 0001 to 9999"))
    }
}

/// Of an RFC 3339 text. Reckoned from civil time, for jiff's own instants end a day before ours.
pub(super) fn nanos_since_epoch(text: &str) -> Option<i128> {
    let pieces = Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    let ahead_of_utc = SignedDuration::from_secs(i64::from(pieces.to_numeric_offset()?.seconds()));
    Some((civil.duration_since(EPOCH) - ahead_of_utc).as_nanos())
}

/// 0001-01-01.
pub(super) const FIRST_DAY: i32 = -719_162;

/// Of a date in the one form that is read, `2026-11-21`: its days since 1970. Those of the year 0 are before
/// [`FIRST_DAY`].
pub(super) fn days_since_epoch(text: &str) -> Option<i32> {
    // jiff reads more than this one form of a date.
    let date: Date = text.parse().ok().filter(|_| text.len() == 10)?;
    let days = date.duration_since(EPOCH.date()).as_hours() / 24;
    Some(i32::try_from(days).expect("a date of four digits is less than 2^31 days away"))
}

/// A duration in microseconds, written `10s`, `5m`, `1h`, `7d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

impl Micros {
    pub const ZERO: Micros = Micros(0);
    pub const SECOND: Micros = Micros(1_000_000);
    pub const MINUTE: Micros = Micros(60_000_000);
    pub const HOUR: Micros = Micros(3_600_000_000);
    pub const DAY: Micros = Micros(86_400_000_000);
    /// The longest duration that a definition may name, about a thousand years.
    pub const LONGEST: Micros = Micros(365_000 * 86_400_000_000);

    pub const fn new(micros: i64) -> Micros {
        Micros(micros)
    }

    pub const fn from_millis(millis: i64) -> Micros {
        Micros(millis * 1_000)
    }

    pub const fn get(self) -> i64 {
        self.0
    }
}

impl std::ops::Add for Micros {
    type Output = Micros;

    fn add(self, other: Micros) -> Micros {
        Micros(self.0.saturating_add(other.0))
    }
}

const UNITS: [(&str, Micros); 4] =
    [("d", Micros::DAY), ("h", Micros::HOUR), ("m", Micros::MINUTE), ("s", Micros::SECOND)];

/// In the largest unit that divides it; below a second in `us`.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 != 0 && self.0 % unit.0 == 0) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit.0),
            None if self.0 == 0 => f.write_str("0s"),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Micros {
    type Err = String;

    fn from_str(text: &str) -> Result<Micros, String> {
        let wrong = || format!("`{text}` is not a duration such as `10s`, `5m`, `1h` or `7d`");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, suffix) = text.split_at(digits);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == suffix).ok_or_else(wrong)?;
        let count: i64 = count.parse().map_err(|_| wrong())?;
        let micros = count.checked_mul(unit.0).filter(|micros| *micros <= Micros::LONGEST.0);
        micros.map(Micros).ok_or_else(|| format!("`{text}` is longer than {}", Micros::LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_rounds_towards_minus_infinity_before_1970_too() {
        let at = |micros| EventTime::unchecked(micros).floor(Micros::SECOND).micros();
        assert_eq!([at(-1), at(-1_000_000), at(0), at(999_999)], [-1_000_000, -1_000_000, 0, 0]);
    }

    #[test]
    fn times_read_back_as_they_are_written() {
        for text in [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "2026-11-21T10:00:00.123Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(text.parse::<EventTime>().expect(text).to_string(), text);
        }
        let shifted = "2026-11-21T10:00:00.5+01:30".parse::<EventTime>().expect("an offset");
        assert_eq!(shifted.to_string(), "2026-11-21T08:30:00.500Z");
        for text in ["2026-11-21", "2026-11-21T10:00:00", "0000-12-31T23:59:59Z", "10000-01-01T00:00:00Z"] {
            assert!(text.parse::<EventTime>().is_err(), "{text}");
        }
        assert_eq!("2026-11-21T10:00:00.0000019Z".parse::<EventTime>().expect("floored").micros() % 10, 1);
    }

    #[test]
    fn durations_read_back_as_they_are_written() {
        for text in ["10s", "5m", "1h", "7d", "36h"] {
            assert_eq!(text.parse::<Micros>().expect(text).to_string(), text);
        }
        assert!("1w".parse::<Micros>().is_err() && "h".parse::<Micros>().is_err() && "-1h".parse::<Micros>().is_err());
        assert!("999999999d".parse::<Micros>().expect_err("too long").contains("longer than"));
    }

    #[test]
    fn days_count_from_1970_and_are_written_in_one_form() {
        let days = ["1970-01-01", "1969-12-31", "2026-11-21", "0001-01-01", "0000-12-31"].map(days_since_epoch);
        assert_eq!(days, [Some(0), Some(-1), Some(20_778), Some(FIRST_DAY), Some(FIRST_DAY - 1)]);
        let other = ["20261121", "2026-11-21T23:00[Europe/Berlin]", "2026-11-2", "2026-02-30", "-000001-01-01"];
        assert_eq!(other.map(days_since_epoch), [None; 5]);
    }
}

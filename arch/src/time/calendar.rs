//! The battery-backed clock's digits, as seconds.

/// In status B: hours count to 24; numbers are binary, not decimal digits.
const HOURS_24: u8 = 1 << 1;
const BINARY: u8 = 1 << 2;
/// In the hours, when they count to 12.
const AFTERNOON: u8 = 1 << 7;
/// The clock has two digits for the year.
const CENTURY: u64 = 2000;

/// Makes sense of seconds, minutes, hours, day, month and year, under status B.
pub(super) fn seconds(raw: [u8; 6], status: u8) -> u64 {
    let number = |raw: u8| u64::from(if status & BINARY == 0 { (raw >> 4) * 10 + (raw & 0xf) } else { raw });
    let [second, minute, hour, day, month, year] = raw;
    let hour = match status & HOURS_24 {
        0 => number(hour & !AFTERNOON) % 12 + if hour & AFTERNOON != 0 { 12 } else { 0 },
        _ => number(hour),
    };
    let days = days_since_1970(CENTURY + number(year), number(month), number(day));
    ((days * 24 + hour) * 60 + number(minute)) * 60 + number(second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar in this century.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March have their leap day at the end, and months of 153 days in each five.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let since_year_0 = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    since_year_0.saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_digits_and_twelve_hours_are_understood() {
        // 2024-02-29 23:59:58.
        let decimal = [0x58, 0x59, 0x11 | AFTERNOON, 0x29, 0x02, 0x24];
        assert_eq!(seconds(decimal, 0), 1_709_251_198);
        assert_eq!(seconds([58, 59, 23, 29, 2, 24], BINARY | HOURS_24), 1_709_251_198);
        // Midnight is 12 in the morning: 2000-01-01 00:00:00.
        assert_eq!(seconds([0, 0, 0x12, 1, 1, 0], 0), 946_684_800);
    }

    #[test]
    fn each_day_is_one_more_than_the_day_before() {
        assert_eq!(days_since_1970(2000, 1, 1), 10_957);
        assert_eq!(days_since_1970(2024, 3, 1) - days_since_1970(2024, 2, 29), 1);
        assert_eq!(days_since_1970(2025, 1, 1) - days_since_1970(2024, 12, 31), 1);
        assert_eq!(days_since_1970(2100, 3, 1) - days_since_1970(2100, 2, 28), 1);
    }
}

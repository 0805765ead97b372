//! Numbers that came over the network: taken when they make sense, refused with a reason otherwise.

/// Largest number of calls or of calls per second that anybody is believed.
const MOST: f64 = 1e9;

/// A number that is there at all: not NaN, not infinite, not negative.
pub(super) fn amount(number: f64) -> Result<f64, String> {
    if !number.is_finite() {
        return Err(format!("{number} is no number"));
    }
    if number < 0.0 {
        return Err(format!("{number} is below zero"));
    }
    if number > MOST {
        return Err(format!("{number} is more than anybody has"));
    }
    Ok(number)
}

/// A number of calls, rounded.
pub(super) fn count(number: f64) -> Result<u32, String> {
    amount(number).map(|number| number.round() as u32)
}

/// A part of a whole, 0 to 1.
pub(super) fn part(number: f64) -> Result<f64, String> {
    match amount(number)? {
        part if part <= 1.0 => Ok(part),
        more => Err(format!("{more} is more than the whole, 1")),
    }
}

/// The number that a text is: digits, perhaps with a point.
pub(super) fn decimal(text: &str) -> Result<f64, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = plain.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("{} is no number", shown(text))).and_then(amount)
}

/// Text of others in quotes: control characters escaped, cut when long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let cut: String = text.chars().take(LONGEST).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_make_no_sense_are_refused_with_a_reason() {
        for (number, why) in [
            (f64::NAN, "no number"),
            (f64::INFINITY, "no number"),
            (f64::NEG_INFINITY, "no number"),
            (-0.1, "below zero"),
            (1e9 + 1.0, "more than anybody"),
        ] {
            assert!(count(number).unwrap_err().contains(why), "{number}");
            assert!(part(number).is_err());
        }
        assert_eq!(
            (count(0.0), count(-0.0), count(1e9), count(2.5)),
            (Ok(0), Ok(0), Ok(1_000_000_000), Ok(3))
        );
        assert_eq!((part(1.0), part(0.25)), (Ok(1.0), Ok(0.25)));
        assert!(part(1.01).unwrap_err().contains("more than the whole"));
    }

    #[test]
    fn texts_are_plain_decimals() {
        assert_eq!((decimal("12"), decimal("0.5")), (Ok(12.0), Ok(0.5)));
        for wrong in ["", "-1", "1e3", "inf", "NaN", "0x1", " 1", ".", "1.2.3", "\u{0661}"] {
            assert!(decimal(wrong).unwrap_err().contains("no number"), "{wrong}");
        }
        assert!(decimal(&"9".repeat(400)).is_err());
    }

    #[test]
    fn what_others_wrote_is_harmless() {
        assert_eq!(shown("a\x1b[2J\"\n"), r#""a\u{1b}[2J\"\n""#);
        assert!(shown(&"x".repeat(1000)).len() < 60);
    }
}

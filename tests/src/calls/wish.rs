//! What a caller wants of the server. It stands in the user part of the To URI, which every request of a call repeats and
//! a redirect leaves as it is (RFC 3261 section 8.1.3.4).

use std::{fmt, str::FromStr, time::Duration};

/// What the server is to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// 180, and 200 after this time.
    Answer(Duration),
    /// 486 at once.
    Refuse,
    /// 180 and no more, until the caller cancels.
    Ring,
    /// No answer at all.
    Silence,
    /// 401 first, then as [`Wish::Answer`] at once.
    Challenge,
}

impl Wish {
    /// An answer at once.
    pub const ANSWER: Wish = Wish::Answer(Duration::ZERO);
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::Answer(after) => write!(f, "answer-{}", after.as_millis()),
            Wish::Refuse => f.write_str("refuse"),
            Wish::Ring => f.write_str("ring"),
            Wish::Silence => f.write_str("silence"),
            Wish::Challenge => f.write_str("challenge"),
        }
    }
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Wish, String> {
        let unknown = || format!("{text} is no wish");
        match text.split_once('-') {
            Some(("answer", after)) => {
                Ok(Wish::Answer(Duration::from_millis(after.parse().map_err(|_| unknown())?)))
            }
            Some(_) => Err(unknown()),
            None => match text {
                "refuse" => Ok(Wish::Refuse),
                "ring" => Ok(Wish::Ring),
                "silence" => Ok(Wish::Silence),
                "challenge" => Ok(Wish::Challenge),
                _ => Err(unknown()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_as_they_are_written() {
        let after = Duration::from_millis(250);
        for wish in
            [Wish::ANSWER, Wish::Answer(after), Wish::Refuse, Wish::Ring, Wish::Silence, Wish::Challenge]
        {
            assert_eq!(wish.to_string().parse(), Ok(wish));
        }
        for text in ["", "bob", "answer", "answer-x", "ring-3"] {
            assert!(text.parse::<Wish>().is_err(), "{text}");
        }
    }
}

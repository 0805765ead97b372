//! What went wrong, told by what the reader can do next.

use std::{borrow::Cow, fmt};

/// Which exit status a failure ends the program with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The thing asked about is bad: 1.
    Bad,
    /// The command line is wrong: 2.
    Usage,
    /// The daemon or its maps are not there: 3.
    NotRunning,
    /// Not allowed: 4.
    Permission,
    /// It took too long: 5.
    TimedOut,
}

impl Kind {
    /// The exit status.
    pub const fn exit_status(self) -> u8 {
        match self {
            Kind::Bad => 1,
            Kind::Usage => 2,
            Kind::NotRunning => 3,
            Kind::Permission => 4,
            Kind::TimedOut => 5,
        }
    }
}

/// A failure with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// Decides the exit status.
    pub kind: Kind,
    /// A word for programs, `interface_missing` for instance.
    pub code: Cow<'static, str>,
    /// What is wrong, with the names of what is concerned.
    pub message: String,
    /// What to do about it, where we know.
    pub remedy: Option<String>,
    /// More for programs: the complaints about a configuration, for instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

impl Failure {
    /// A failure of any kind, without a remedy.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { kind, code: Cow::Borrowed(code), message: message.into(), remedy: None, details: None }
    }

    /// The thing asked about is bad.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Failure {
        Failure::new(Kind::Bad, code, message)
    }

    /// Says what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  what to do: {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// An error with everything that caused it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in the outer message.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_on_its_own_line() {
        let failure = Failure::bad("x", "eth9 does not exist").remedy("choose another");
        assert_eq!(failure.to_string(), "eth9 does not exist\n  what to do: choose another");
    }

    #[test]
    fn exit_statuses_are_the_documented_ones() {
        let all = [Kind::Bad, Kind::Usage, Kind::NotRunning, Kind::Permission, Kind::TimedOut];
        assert_eq!(all.map(Kind::exit_status), [1, 2, 3, 4, 5]);
    }
}

//! Complaints: what is wrong with a configuration, where, why, and what to do about it.

use super::render;
use serde::Serialize;
use std::{fmt, ops::Range};

/// Whether a complaint refuses the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is taken, but somebody should know.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)+) => {
        /// What kind of mistake a complaint is about; the names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code { $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The name in text and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }
        }
    };
}

codes! {
    /// The file cannot be read.
    Unreadable = "unreadable";
    /// The file is not TOML.
    Syntax = "syntax";
    /// A key or table stands twice.
    DuplicateKey = "duplicate-key";
    /// A key or table that does not exist.
    UnknownKey = "unknown-key";
    /// A key that must be there is not.
    MissingKey = "missing-key";
    /// A value of the wrong type.
    WrongType = "wrong-type";
    /// A word that is none of those possible.
    UnknownValue = "unknown-value";
    /// A number or duration outside its range.
    OutOfRange = "out-of-range";
    /// A name of wrong length or with wrong characters.
    BadName = "bad-name";
    /// Not an address and port, or one that packets cannot go to.
    BadAddress = "bad-address";
    /// Not a duration.
    BadDuration = "bad-duration";
    /// Not a usable path.
    BadPath = "bad-path";
    /// A file that the configuration names cannot be used.
    BadFile = "bad-file";
    /// The time of a certificate is over, or has not come.
    Untimely = "untimely";
    /// Secrets would cross the network for everybody to see.
    NotEncrypted = "not-encrypted";
    /// Planned, but not in this version.
    NotYet = "not-yet";
    /// A name stands twice.
    DuplicateName = "duplicate-name";
    /// An address stands twice.
    DuplicateAddress = "duplicate-address";
    /// A value stands twice in a list.
    DuplicateItem = "duplicate-item";
    /// A service, or one of its tiers, has nothing to send calls to.
    EmptyService = "empty-service";
    /// A backend in a zone that no service lists.
    BackendInNoService = "backend-in-no-service";
    /// Callers are redirected to a zone that has no address to name.
    NoAddress = "no-address";
    /// Callers are redirected to where they come from.
    RedirectLoop = "redirect-loop";
    /// The node's zone is not a zone of this file.
    UnknownZone = "unknown-zone";
    /// A name of something that is not in this file.
    UnknownName = "unknown-name";
    /// More of something than there is room for.
    TooMany = "too-many";
    /// Lifetimes that do not go together.
    Lifetimes = "lifetimes";
    /// Lifetimes are shorter than RFC 3261 allows.
    Shortened = "shortened";
    /// A key that has no effect in this version.
    NoEffect = "no-effect";
    /// Something that nothing uses.
    Unused = "unused";
    /// Nobody looks whether backends are alive.
    NotProbed = "not-probed";
}

impl Code {
    /// Whether it tells of something that is not there. After a syntax error, what is missing may only have been
    /// skipped, so such complaints would mislead.
    pub(super) const fn is_about_absence(self) -> bool {
        matches!(
            self,
            Code::MissingKey
                | Code::EmptyService
                | Code::BackendInNoService
                | Code::NoAddress
                | Code::UnknownZone
                | Code::UnknownName
                | Code::Unused
                | Code::NotProbed
        )
    }
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// Whether it refuses the configuration.
    pub severity: Severity,
    /// What kind of mistake it is.
    pub code: Code,
    /// The file's name, as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// Why that is a mistake.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
    /// The bytes of the file it is about.
    #[serde(skip)]
    pub(super) span: Range<usize>,
    /// Another place that belongs to it, and what that is.
    #[serde(skip)]
    pub(super) other: Option<(Range<usize>, &'static str)>,
}

/// All complaints about one file, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Complaints {
    /// The complaints.
    pub complaints: Vec<Complaint>,
    /// The file's text, to show the lines from; empty if it could not be read.
    #[serde(skip)]
    pub(super) text: String,
}

impl Complaints {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.complaints.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.complaints.is_empty()
    }

    /// Whether one of them refuses the configuration.
    pub fn refuse(&self) -> bool {
        self.complaints.iter().any(|c| c.severity == Severity::Error)
    }

    /// All complaints with the lines they are about, as rustc shows them; `color` for terminals.
    pub fn render(&self, color: bool) -> String {
        render::render(self, color)
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Complaints {}

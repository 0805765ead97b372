//! What became of calls.

use super::{
    message::{Message, contacts},
    wish::Wish,
};
use std::{collections::BTreeMap, time::Instant};

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was answered, held and ended with BYE.
    Completed,
    /// Its last answer was this status.
    Refused(u16),
    /// The caller cancelled it, and the server agreed.
    Cancelled,
    /// Nobody answered at all.
    TimedOut,
    /// What must not happen happened.
    Broken(String),
}

/// A final answer to an INVITE.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The backend that gave it; None if it was none of the servers here, but the balancer.
    pub by: Option<String>,
    /// URIs of its Contact headers, those of the greatest q first.
    pub contacts: Vec<String>,
    /// Retry-After, if it has one.
    pub retry_after: Option<String>,
    /// What is wrong with it as an answer to that INVITE (RFC 3261 section 8.2.6.2).
    pub flaw: Option<String>,
}

impl Answer {
    /// Judges an answer to `request`.
    pub(super) fn judge(answer: &Message<'_>, request: &Message<'_>) -> Answer {
        let text = |name| Some(answer.value(name)).filter(|value| !value.is_empty()).map(str::to_owned);
        Answer {
            status: answer.status().unwrap_or_default(),
            by: text("Server")
                .filter(|name| name.starts_with(super::server::SIGNATURE))
                .map(|name| name[super::server::SIGNATURE.len()..].to_owned()),
            contacts: contacts(answer),
            retry_after: text("Retry-After"),
            flaw: flaw(answer, request),
        }
    }
}

/// What of the request is not repeated as it must be (RFC 3261 section 8.2.6.2).
pub fn flaw(answer: &Message<'_>, request: &Message<'_>) -> Option<String> {
    for name in ["From", "Call-ID", "CSeq"] {
        let (is, should) = (answer.value(name), request.value(name));
        if is != should {
            return Some(format!("{name} is {is}, not {should}"));
        }
    }
    let sent_by =
        |message: &Message<'_>| message.value("Via").split(';').next().unwrap_or_default().to_owned();
    let to = answer.value("To");
    if sent_by(answer) != sent_by(request) || answer.branch() != request.branch() {
        Some(format!("Via is {}", answer.value("Via")))
    } else if answer.all("Via").count() != request.all("Via").count() {
        Some("there are more or fewer Via headers".into())
    } else if !to.starts_with(request.value("To")) || answer.tag("To").is_none_or(str::is_empty) {
        Some(format!("To is {to}"))
    } else {
        None
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its Call-ID.
    pub id: String,
    /// What the caller wanted.
    pub wish: Wish,
    /// When its first INVITE was sent.
    pub sent: Instant,
    /// Every final answer to an INVITE of the call.
    pub answers: Vec<Answer>,
    /// INVITEs that were sent again because nothing came back.
    pub retransmissions: u32,
    /// How it ended.
    pub outcome: Outcome,
}

impl Call {
    /// The backend that gave the last answer.
    pub fn by(&self) -> Option<&str> {
        self.answers.last()?.by.as_deref()
    }

    /// Whether it was redirected on its way.
    pub fn was_redirected(&self) -> bool {
        self.answers.iter().any(|answer| answer.status == 302)
    }
}

/// Calls of one caller, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Calls(pub Vec<Call>);

impl Calls {
    /// How many ended in each way.
    pub fn outcomes(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for call in &self.0 {
            *counts.entry(call.outcome.clone()).or_default() += 1;
        }
        counts
    }

    /// How many ended like this.
    pub fn count(&self, outcome: &Outcome) -> usize {
        self.0.iter().filter(|call| call.outcome == *outcome).count()
    }

    /// Those that ended like this.
    pub fn those(&self, outcome: &Outcome) -> impl Iterator<Item = &Call> {
        self.0.iter().filter(move |call| call.outcome == *outcome)
    }

    /// Answers of this status, of all calls.
    pub fn answers(&self, status: u16) -> impl Iterator<Item = &Answer> {
        self.0.iter().flat_map(|call| &call.answers).filter(move |answer| answer.status == status)
    }

    /// Completed calls by backend.
    pub fn completed_by(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for name in self.those(&Outcome::Completed).filter_map(Call::by) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// The first answer that does not repeat of its request what it must.
    pub fn flaw(&self) -> Option<&str> {
        self.0.iter().flat_map(|call| &call.answers).find_map(|answer| answer.flaw.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::message::response;

    const INVITE: &str = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a:1;branch=z9hG4bKx;rport\r\n\
        From: <sip:a@h>;tag=f\r\nTo: <sip:b@h>\r\nCall-ID: 1@h\r\nCSeq: 1 INVITE\r\n\r\n";

    #[test]
    fn an_answer_that_changes_what_it_repeats_is_flawed() {
        let request = Message::read(INVITE.as_bytes()).unwrap();
        let good =
            response(&request, "503 Service Unavailable", "t", "Retry-After: 3\r\nServer: lab uk1\r\n");
        let judge = |text: &str| Answer::judge(&Message::read(text.as_bytes()).unwrap(), &request);
        let answer = judge(&good);
        assert_eq!((answer.status, answer.flaw), (503, None));
        assert_eq!((answer.by.as_deref(), answer.retry_after.as_deref()), (Some("uk1"), Some("3")));
        assert_eq!(judge(&good.replace(";rport", ";rport=1;received=1.2.3.4")).flaw, None);
        assert_eq!(judge(&good.replace("lab uk1", "other")).by, None);
        for (is, becomes) in [
            (";tag=t", ""),
            (";tag=f", ";tag=g"),
            ("CSeq: 1", "CSeq: 2"),
            ("1@h", "2@h"),
            ("z9hG4bKx", "z9hG4bKy"),
            ("a:1", "a:2"),
            ("To: <sip:b@h>", "To: <sip:c@h>"),
        ] {
            assert!(judge(&good.replace(is, becomes)).flaw.is_some(), "{is} -> {becomes}");
        }
    }
}

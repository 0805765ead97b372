//! From a datagram to its answer.

use super::{
    answer::{self, Status},
    limiter::{Limiter, Rates},
    message::Request,
    room::{Decision, Outlook},
    tally::Outcome,
};
use lb_common::{decide::own_tag, hash::HashKey, sip::Method};
use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive};

/// Bounds of a Retry-After, in seconds.
pub type RetryAfter = RangeInclusive<u32>;

/// How answers are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Retry-After of the 503 of a service, by its id. One that is not named gives none: with it, a moment without room
    /// silences a whole trunk (RFC 3261 section 21.5.4).
    pub retry_after: BTreeMap<u16, RetryAfter>,
    /// How many answers go out.
    pub rates: Rates,
}

/// Answers requests.
#[derive(Debug)]
pub struct Responder {
    key: HashKey,
    retry_after: BTreeMap<u16, RetryAfter>,
    limiter: Limiter,
}

impl Responder {
    /// A responder with the node's key, which the program knows its answers by.
    pub fn new(key: HashKey, manner: Manner) -> Responder {
        Responder { key, retry_after: manner.retry_after, limiter: Limiter::new(key, manner.rates) }
    }

    /// Goes on in another manner.
    pub fn set_manner(&mut self, manner: Manner) {
        self.limiter.set_rates(manner.rates);
        self.retry_after = manner.retry_after;
    }

    /// A service's answer to a datagram that came from `source` at `now`, in nanoseconds, and what became of it. `outlook` is
    /// asked only when it matters; `None` from it: not known.
    pub fn answer<O: AsRef<Outlook>>(
        &mut self,
        datagram: &[u8],
        service: u16,
        source: SocketAddr,
        now: u64,
        outlook: impl FnOnce() -> Option<O>,
    ) -> (Outcome, Option<Vec<u8>>) {
        match self.try_answer(datagram, service, source, now, outlook) {
            Ok((outcome, answer)) => (outcome, Some(answer)),
            Err(outcome) => (outcome, None),
        }
    }

    fn try_answer<O: AsRef<Outlook>>(
        &mut self,
        datagram: &[u8],
        service: u16,
        source: SocketAddr,
        now: u64,
        outlook: impl FnOnce() -> Option<O>,
    ) -> Result<(Outcome, Vec<u8>), Outcome> {
        // First, so that a flood costs little.
        self.limiter.check(source.ip(), now)?;
        let request = Request::read(datagram, &self.key)?;
        if request.to_tag {
            return Err(Outcome::InDialog);
        }
        if !matches!(request.method, Method::Invite | Method::Options) {
            return Err(Outcome::OtherMethod);
        }
        let outlook = outlook().ok_or(Outcome::NotKnown)?;
        let decision = outlook.as_ref().decide(request.method, request.call_key);
        let (status, outcome) = match &decision {
            Decision::Redirect(choices) => (Status::MovedTemporarily(choices), Outcome::Redirected),
            Decision::Refuse(lack) => (
                Status::ServiceUnavailable { retry_after: self.retry_after.get(&service).cloned() },
                Outcome::refused(*lack),
            ),
            Decision::Alive => (Status::Ok, Outcome::Alive),
            Decision::RoomAgain => return Err(Outcome::RoomAgain),
            Decision::OtherMethod => return Err(Outcome::OtherMethod),
        };
        self.limiter.admit(source.ip(), now)?;
        let tag = own_tag::text(&self.key, request.call_key);
        let answer = answer::build(&request, &status, source, &tag).ok_or(Outcome::TooSmall)?;
        Ok((outcome, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slowpath::room::{Condition, Target, Tier};
    use lb_common::sip::{self, Bytes, Noted};
    use std::sync::Arc;

    const KEY: HashKey = HashKey { k0: 7, k1: 11 };
    const SERVICE: u16 = 4;
    const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK776\r\n\
        To: <sip:bob@example.com>\r\n\
        From: <sip:alice@example.com>;tag=1\r\n\
        Call-ID: a84b4c76e66710\r\n\
        CSeq: 1 INVITE\r\n\
        Contact: <sip:alice@192.0.2.9>\r\n\
        User-Agent: one that has a name of some length\r\n\r\n";

    fn full(redirect: bool) -> Arc<Outlook> {
        let tier = |redirect, condition| Tier {
            redirect,
            condition,
            settled: false,
            targets: vec![Target::Host("b.example.com".to_owned())],
        };
        let second = if redirect { Condition::Room } else { Condition::Full };
        Arc::new(Outlook { tiers: vec![tier(false, Condition::Full), tier(true, second)], in_order: false })
    }

    fn responder() -> Responder {
        Responder::new(KEY, Manner::default())
    }

    fn answer(responder: &mut Responder, text: &str, outlook: &Arc<Outlook>) -> (Outcome, Option<String>) {
        let source = "192.0.2.9:5060".parse().unwrap();
        let (outcome, answer) =
            responder.answer(text.as_bytes(), SERVICE, source, 0, || Some(outlook.clone()));
        (outcome, answer.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn an_answer_has_the_tag_that_the_program_knows() {
        let (outcome, text) = answer(&mut responder(), INVITE, &full(true));
        let text = text.unwrap();
        assert_eq!(outcome, Outcome::Redirected);
        assert!(text.contains("Contact: <sip:bob@b.example.com>;q=1.0\r\n"), "{text}");
        let ack = INVITE.replace("INVITE", "ACK");
        let to = text.lines().find(|l| l.starts_with("To:")).unwrap();
        let ack = ack.replace("To: <sip:bob@example.com>", to);
        let call_key = Request::read(INVITE.as_bytes(), &KEY).unwrap().call_key;
        let (window, notes) = (Bytes(ack.as_bytes()), &Noted::default());
        sip::call_id(window, 0, notes);
        let headers = sip::dialog_headers(window, notes, &KEY);
        assert_eq!(headers.to_tag, own_tag::hash(&KEY, call_key));
        assert_eq!(answer(&mut responder(), &ack, &full(true)), (Outcome::InDialog, None));
    }

    #[test]
    fn a_repeated_request_gets_the_same_answer() {
        let mut responder = responder();
        let first = answer(&mut responder, INVITE, &full(false));
        assert_eq!(first.0, Outcome::RefusedFull);
        assert_eq!(answer(&mut responder, INVITE, &full(false)), first);
        assert_eq!(answer(&mut Responder::new(KEY, Manner::default()), INVITE, &full(false)), first);
    }

    #[test]
    fn what_is_not_answered_does_not_ask_how_the_service_stands() {
        let silent = |text: &str| {
            let source = "192.0.2.9:5060".parse().unwrap();
            let asked = || -> Option<Arc<Outlook>> { panic!("asked for {text}") };
            let (outcome, answer) = responder().answer(text.as_bytes(), SERVICE, source, 0, asked);
            assert_eq!(answer, None);
            outcome
        };
        assert_eq!(silent(&INVITE.replace("INVITE", "CANCEL")), Outcome::OtherMethod);
        assert_eq!(silent(&INVITE.replace("INVITE", "ACK")), Outcome::OtherMethod);
        assert_eq!(silent(&INVITE.replace("com>\r\nFrom", "com>;tag=x\r\nFrom")), Outcome::InDialog);
        assert_eq!(silent("SIP/2.0 200 OK\r\n\r\n"), Outcome::Response);
        assert_eq!(silent("\r\n\r\n"), Outcome::KeepAlive);
        assert_eq!(silent(&INVITE.replace("Via", "X")), Outcome::Unfit);
    }

    #[test]
    fn a_source_gets_no_more_than_its_share() {
        let mut responder = responder();
        let outcomes: Vec<_> = (0..30).map(|_| answer(&mut responder, INVITE, &full(true)).0).collect();
        assert_eq!(outcomes.iter().filter(|o| **o == Outcome::Redirected).count(), 21);
        assert_eq!(outcomes[29], Outcome::OverSourceLimit);
    }

    #[test]
    fn another_manner_shows_in_the_next_answer_of_its_service() {
        let mut responder = responder();
        let plain = answer(&mut responder, INVITE, &full(false)).1.unwrap();
        assert!(!plain.contains("Retry-After"), "{plain}");
        let of = |service| Manner { retry_after: BTreeMap::from([(service, 3..=3)]), ..Manner::default() };
        responder.set_manner(of(SERVICE));
        let roomy = INVITE.replace("length", "length and more of it");
        let told = answer(&mut responder, &roomy, &full(false)).1.unwrap();
        assert!(told.contains("\r\nRetry-After: 3\r\n"), "{told}");
        responder.set_manner(of(SERVICE + 1));
        let other = answer(&mut responder, &roomy, &full(false)).1.unwrap();
        assert!(!other.contains("Retry-After"), "{other}");
    }

    #[test]
    fn without_an_outlook_there_is_no_answer() {
        let source = "192.0.2.9:5060".parse().unwrap();
        let unknown = || None::<Arc<Outlook>>;
        let (outcome, answer) = responder().answer(INVITE.as_bytes(), SERVICE, source, 0, unknown);
        assert_eq!((outcome, answer), (Outcome::NotKnown, None));
    }
}

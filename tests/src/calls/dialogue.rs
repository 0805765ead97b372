//! One call, as its caller sees it: messages and time in, messages and an alarm out. No socket, no clock.

use super::{
    caller::Plan,
    message::{Message, compact, contacts, host_port, timestamp},
    outcome::{Answer, Call, Outcome},
    timers::Repeat,
    wish::Wish,
};
use crate::topology::SIP_PORT;
use std::{
    collections::VecDeque,
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Instant,
};

/// How long a call rings before its caller cancels it, in units of T1.
const RINGS: u32 = 1;
/// How long a caller waits for an answer that has been announced, in units of T1.
const PATIENCE: u32 = 64;

/// What becomes of a call's alarm.
#[derive(Default)]
pub(super) enum Alarm {
    /// It stays.
    #[default]
    Keep,
    /// There is none any more.
    Off,
    /// It rings then.
    At(Instant),
}

/// What a call does next.
#[derive(Default)]
pub(super) struct Reaction {
    /// Datagrams to send.
    pub(super) send: Vec<(String, SocketAddr)>,
    /// When to wake the call.
    pub(super) alarm: Alarm,
}

/// How far the call is.
#[derive(Debug)]
enum Phase {
    /// INVITE sent, nothing heard.
    Inviting(Repeat),
    /// Heard that it is being dealt with.
    Proceeding,
    /// CANCEL sent.
    Cancelling(Repeat),
    /// CANCEL answered; the INVITE's final answer is still to come.
    Cancelled,
    /// Answered.
    Up,
    /// BYE sent.
    Ending(Repeat),
    /// Over.
    Over,
}

/// A final answer's ACK, to be sent again when the answer comes again.
struct Acknowledged {
    branch: String,
    ack: String,
    target: SocketAddr,
}

/// The caller's side of a call.
pub(super) struct Dialogue {
    plan: Arc<Plan>,
    local: SocketAddrV4,
    number: usize,
    to: String,
    phase: Phase,
    sequence: u32,
    branch: String,
    uri: String,
    target: SocketAddr,
    /// The INVITE of the last transaction.
    invite: String,
    /// The request that is repeated until it is answered.
    pending: String,
    to_tag: String,
    authorized: bool,
    tries: u32,
    targets: VecDeque<String>,
    visited: Vec<String>,
    acknowledged: Vec<Acknowledged>,
    call: Call,
}

impl Dialogue {
    /// The call of this number, from `local` to `target`; [`Dialogue::begin`] begins it.
    pub(super) fn new(plan: &Arc<Plan>, number: usize, local: SocketAddrV4, target: SocketAddr) -> Dialogue {
        let wish = plan.wishes[number % plan.wishes.len()];
        let uri = format!("sip:{wish}@{target}");
        Dialogue {
            plan: plan.clone(),
            local,
            number,
            to: format!("<sip:{wish}@{}>", target.ip()),
            phase: Phase::Over,
            sequence: 0,
            branch: String::new(),
            visited: vec![uri.clone()],
            uri,
            target,
            invite: String::new(),
            pending: String::new(),
            to_tag: String::new(),
            authorized: false,
            tries: plan.tries,
            targets: VecDeque::new(),
            acknowledged: Vec::new(),
            call: Call {
                id: plan.call_id(number, *local.ip()),
                wish,
                sent: Instant::now(),
                answers: Vec::new(),
                retransmissions: 0,
                outcome: Outcome::Broken("it never began".into()),
            },
        }
    }

    /// The first INVITE.
    pub(super) fn begin(&mut self, now: Instant) -> Reaction {
        self.call.sent = now;
        self.invite(now)
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether it is answered and not ended yet, or rings until its caller gives up.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up) || self.rings_until_told()
    }

    fn rings_until_told(&self) -> bool {
        matches!(self.phase, Phase::Proceeding) && self.call.wish == Wish::Ring && self.plan.hold.is_none()
    }

    /// What became of it.
    pub(super) fn into_call(self) -> Call {
        self.call
    }

    /// The alarm rings.
    pub(super) fn alarm(&mut self, now: Instant) -> Reaction {
        let again = match &mut self.phase {
            Phase::Inviting(repeat) => repeat.next(now).ok_or(Outcome::TimedOut),
            Phase::Cancelling(repeat) => repeat.next(now).ok_or(broken("CANCEL was not answered")),
            Phase::Ending(repeat) => repeat.next(now).ok_or(broken("BYE was not answered")),
            Phase::Proceeding if self.call.wish == Wish::Ring => return self.cancel(now),
            Phase::Proceeding => Err(broken("it rang and was never answered")),
            Phase::Cancelled => Err(broken("it was cancelled, but its INVITE never answered")),
            Phase::Up => return self.hang_up(now),
            Phase::Over => return Reaction::default(),
        };
        match again {
            Ok(at) => {
                self.call.retransmissions += u32::from(matches!(self.phase, Phase::Inviting(_)));
                self.send_pending(Alarm::At(at))
            }
            Err(outcome) => self.end(outcome),
        }
    }

    /// Ends an answered call with BYE, and one that rings with CANCEL.
    pub(super) fn hang_up(&mut self, now: Instant) -> Reaction {
        if matches!(self.phase, Phase::Proceeding) {
            return self.cancel(now);
        }
        self.sequence += 1;
        let branch = self.new_branch("bye");
        let sent = format!("Timestamp: {}\r\n", timestamp(now));
        self.pending = self.request("BYE", &branch, self.sequence, &self.tagged_to(), &sent, "");
        self.repeat_pending(Phase::Ending, Repeat::up_to_t2(self.plan.t1, now), now)
    }

    /// An answer has come.
    pub(super) fn receive(&mut self, answer: &Message<'_>, now: Instant) -> Reaction {
        let status = answer.status().unwrap_or_default();
        match (answer.sequence_method(), &self.phase, status) {
            ("INVITE", _, 100..200) => self.provisional(answer, now),
            ("INVITE", _, 200..) => self.final_answer(status, answer, now),
            ("CANCEL", Phase::Cancelling(_), 200) => {
                self.phase = Phase::Cancelled;
                wait(now + self.plan.t1 * PATIENCE)
            }
            ("BYE", Phase::Ending(_), 200) => self.end(Outcome::Completed),
            ("CANCEL", Phase::Cancelling(_), 201..) | ("BYE", Phase::Ending(_), 201..) => {
                let method = answer.sequence_method();
                self.end(broken(&format!("{method} was answered with {status}")))
            }
            _ => Reaction::default(),
        }
    }

    fn provisional(&mut self, answer: &Message<'_>, now: Instant) -> Reaction {
        if answer.branch() != self.branch || !matches!(self.phase, Phase::Inviting(_)) {
            return Reaction::default();
        }
        self.phase = Phase::Proceeding;
        if self.rings_until_told() {
            return Reaction { send: Vec::new(), alarm: Alarm::Off };
        }
        wait(match self.call.wish {
            Wish::Ring => now + self.plan.t1 * RINGS,
            Wish::Answer(after) => now + after + self.plan.t1 * PATIENCE,
            _ => now + self.plan.t1 * PATIENCE,
        })
    }

    fn final_answer(&mut self, status: u16, answer: &Message<'_>, now: Instant) -> Reaction {
        if let Some(known) = self.acknowledged.iter().find(|known| known.branch == answer.branch()) {
            // It came again because its ACK was lost.
            return Reaction { send: vec![(known.ack.clone(), known.target)], alarm: Alarm::Keep };
        }
        let waiting = matches!(
            self.phase,
            Phase::Inviting(_) | Phase::Proceeding | Phase::Cancelling(_) | Phase::Cancelled
        );
        if answer.branch() != self.branch || !waiting {
            return Reaction::default();
        }
        let request = self.invite.clone();
        if let Some(request) = Message::read(request.as_bytes()) {
            self.call.answers.push(Answer::judge(answer, &request));
        }
        let to = answer.value("To");
        // The ACK of a refusal belongs to the INVITE's transaction, that of a 200 is one of its own (RFC 3261 sections
        // 17.1.1.3 and 13.2.2.4).
        let branch = if status < 300 { self.new_branch("ack") } else { self.branch.clone() };
        let ack = self.request("ACK", &branch, self.sequence, to, "", "");
        self.acknowledged.push(Acknowledged {
            branch: self.branch.clone(),
            ack: ack.clone(),
            target: self.target,
        });
        let cancelled = matches!(self.phase, Phase::Cancelling(_) | Phase::Cancelled);
        let mut next = match status {
            200..300 if cancelled => self.end(broken("it was cancelled, and answered all the same")),
            200..300 => {
                self.to_tag = answer.tag("To").unwrap_or_default().to_owned();
                self.phase = Phase::Up;
                Reaction {
                    send: Vec::new(),
                    alarm: self.plan.hold.map_or(Alarm::Off, |hold| Alarm::At(now + hold)),
                }
            }
            487 if cancelled => self.end(Outcome::Cancelled),
            300.. => self.refused(status, answer, now),
            _ => Reaction::default(),
        };
        next.send.insert(0, (ack, self.acknowledged[self.acknowledged.len() - 1].target));
        next
    }

    /// Tries again where that makes sense.
    fn refused(&mut self, status: u16, answer: &Message<'_>, now: Instant) -> Reaction {
        if status == 302 && self.plan.follow {
            // A URI enters the target set once only (RFC 3261 section 8.1.3.4).
            let new =
                contacts(answer).into_iter().filter(|uri| !self.visited.contains(uri)).collect::<Vec<_>>();
            self.visited.extend(new.iter().cloned());
            for uri in new.into_iter().rev() {
                self.targets.push_front(uri);
            }
        }
        if status == 401 && self.call.wish == Wish::Challenge && !self.authorized {
            self.authorized = true;
            return self.invite(now);
        }
        if status == 503 && self.tries > 1 {
            self.tries -= 1;
            return self.invite(now);
        }
        let Some(uri) = self.targets.pop_front() else { return self.end(Outcome::Refused(status)) };
        match address(&uri) {
            Some(target) => {
                (self.uri, self.target) = (uri, target);
                self.invite(now)
            }
            None => self.end(broken(&format!("it was redirected to {uri}, which is no address"))),
        }
    }

    /// A new INVITE: the same Call-ID, another branch and the next number.
    fn invite(&mut self, now: Instant) -> Reaction {
        self.sequence += 1;
        self.branch = self.new_branch("invite");
        let authorization = "Authorization: Digest username=\"alice\", realm=\"lab\", nonce=\"1\", \
            response=\"6629fae49393a05397450978507c4ef1\"\r\n";
        let more = format!(
            "Contact: <sip:alice@{}>\r\nTimestamp: {}\r\n{}Content-Type: application/sdp\r\n",
            self.local,
            timestamp(now),
            if self.authorized { authorization } else { "" }
        );
        let ip = self.local.ip();
        let body = format!(
            "v=0\r\no=alice 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\n"
        );
        self.pending = self.request("INVITE", &self.branch, self.sequence, &self.to, &more, &body);
        self.invite = self.pending.clone();
        self.repeat_pending(Phase::Inviting, Repeat::of_invite(self.plan.t1, now), now)
    }

    /// The CANCEL bears the branch and the number of the INVITE (RFC 3261 section 9.1).
    fn cancel(&mut self, now: Instant) -> Reaction {
        self.pending = self.request("CANCEL", &self.branch, self.sequence, &self.to, "", "");
        self.repeat_pending(Phase::Cancelling, Repeat::up_to_t2(self.plan.t1, now), now)
    }

    fn repeat_pending(&mut self, phase: fn(Repeat) -> Phase, mut repeat: Repeat, now: Instant) -> Reaction {
        let alarm = repeat.next(now).map_or(Alarm::At(now), Alarm::At);
        self.phase = phase(repeat);
        self.send_pending(alarm)
    }

    fn send_pending(&self, alarm: Alarm) -> Reaction {
        Reaction { send: vec![(self.pending.clone(), self.target)], alarm }
    }

    fn end(&mut self, outcome: Outcome) -> Reaction {
        self.phase = Phase::Over;
        self.call.outcome = outcome;
        Reaction { send: Vec::new(), alarm: Alarm::Off }
    }

    fn new_branch(&self, what: &str) -> String {
        format!("z9hG4bK-{}-{}-{what}{}", self.plan.name, self.number, self.sequence)
    }

    fn tagged_to(&self) -> String {
        format!("{};tag={}", self.to, self.to_tag)
    }

    fn request(&self, method: &str, branch: &str, sequence: u32, to: &str, more: &str, body: &str) -> String {
        let (local, number, id) = (self.local, self.number, &self.call.id);
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"Alice\" <sip:alice@{}>;tag={}-{number}\r\nTo: {to}\r\nCall-ID: {id}\r\n\
             CSeq: {sequence} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.uri,
            local.ip(),
            self.plan.name,
            body.len(),
        );
        if self.plan.compact { compact(&text) } else { text }
    }
}

fn broken(what: &str) -> Outcome {
    Outcome::Broken(what.to_owned())
}

fn wait(until: Instant) -> Reaction {
    Reaction { send: Vec::new(), alarm: Alarm::At(until) }
}

/// Where a URI leads; there are no names here.
fn address(uri: &str) -> Option<SocketAddr> {
    let place = host_port(uri);
    place.parse().ok().or_else(|| Some(SocketAddr::new(place.parse().ok()?, SIP_PORT)))
}

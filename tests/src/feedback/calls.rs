//! Callers: they call, repeat what gets no answer, and hang up.

use super::{SECOND, World};
use crate::story::{BRANCH, message, request};
use lb_common::{
    decide::{Tables, steer::Steering},
    sip::{Kind, Method},
    verdict::Verdict,
};
use std::{cmp::Reverse, collections::BinaryHeap};

/// T1 of RFC 3261 section 17.1.1.1, in nanoseconds.
const T1: u64 = SECOND / 2;
/// An INVITE without any answer is given up after 64*T1 (section 17.1.1.2).
const GIVEN_UP: u64 = 64 * T1;

/// What callers are going to do, the soonest first.
pub(super) type Plans = BinaryHeap<Reverse<Plan>>;

/// What a caller is going to do, when, and in which call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Plan {
    at: u64,
    key: u64,
    /// The server that the call went to, and when it began.
    id: u16,
    begun: u64,
    act: Act,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// The INVITE once more; once it is answered, the call lasts so long.
    Repeat { lasts: u64 },
    /// A BYE.
    HangUp,
}

impl World {
    /// A call comes.
    pub(super) fn call(&mut self, now: u64) -> Result<(), String> {
        self.set_clock(now);
        let key = self.random.next();
        let lasts = (self.random.exponential() * 10.0 * SECOND as f64) as u64;
        let steering = self.story.arrives(request(Method::Invite, key));
        self.outcome.calls += 1;
        match steering.verdict {
            Verdict::SteeredNew => {}
            Verdict::RefusedFull => {
                self.outcome.refused += 1;
                return Ok(());
            }
            Verdict::RefusedDown => {
                self.outcome.refused += 1;
                return self.keeps_promises_of_service(now / SECOND);
            }
            other => return Err(format!("a new call was {other:?}")),
        }
        self.keeps_promises_of_call(steering.backend, now)?;
        self.invites(
            Plan { at: now, key, id: steering.backend, begun: now, act: Act::Repeat { lasts } },
            lasts,
        );
        Ok(())
    }

    /// Callers do what they were going to do by now.
    pub(super) fn go_on(&mut self, now: u64) -> Result<(), String> {
        while let Some(Reverse(plan)) = self.plans.peek().copied().filter(|plan| plan.0.at <= now) {
            self.plans.pop();
            self.set_clock(plan.at);
            match plan.act {
                Act::Repeat { lasts } => self.repeats(plan, lasts)?,
                Act::HangUp => self.hangs_up(plan)?,
            }
        }
        Ok(())
    }

    /// Callers finish what they have begun, and no more call. Then nobody holds a channel.
    pub(super) fn close(&mut self) -> Result<(), String> {
        self.go_on(u64::MAX)?;
        self.set_clock(Tables::nanoseconds(&&self.story.tables) + GIVEN_UP + SECOND);
        self.sweep(1);
        let loads = (0..self.servers.len()).map(|id| self.story.tables.load_of(id as u16).channels);
        match loads.enumerate().find(|(_, channels)| *channels > 0) {
            Some((id, channels)) => {
                Err(format!("{} has {channels} channels, and all calls are over", self.servers[id].name))
            }
            None => Ok(()),
        }
    }

    /// An INVITE comes to a server, which answers it or does not.
    fn invites(&mut self, plan: Plan, lasts: u64) {
        let Plan { at, key, id, begun, .. } = plan;
        let server = &mut self.servers[usize::from(id)];
        server.record.is_asked();
        if server.life.answers_calls(at / SECOND) {
            for code in [180, 200] {
                self.story.leaves(id, &[0], message(Kind::Response(code), key).to_tag(1));
            }
            server.replies += 2;
            server.answered += 1;
            server.answers = Some(at / SECOND);
            self.plans.push(Reverse(Plan { at: at + lasts, act: Act::HangUp, ..plan }));
            return;
        }
        // After 0.5 s, 1.5 s, 3.5 s and so on.
        let again = at + (at - begun) + T1;
        if again < begun + GIVEN_UP {
            self.plans.push(Reverse(Plan { at: again, ..plan }));
        }
    }

    fn repeats(&mut self, plan: Plan, lasts: u64) -> Result<(), String> {
        let steering = self.story.arrives(request(Method::Invite, plan.key));
        match steering.verdict {
            Verdict::SteeredPinned if steering.backend == plan.id => self.invites(plan, lasts),
            Verdict::SteeredMoved if self.has_died_since(plan) => {
                self.invites(Plan { id: steering.backend, ..plan }, lasts);
            }
            // Whoever is down has lost it.
            _ if self.has_died_since(plan) => {}
            _ => return Err(self.moved(plan, &steering)),
        }
        Ok(())
    }

    fn hangs_up(&mut self, plan: Plan) -> Result<(), String> {
        let steering = self.story.arrives(request(Method::Bye, plan.key).branch(BRANCH + 1).to_tag(1));
        let server = &mut self.servers[usize::from(plan.id)];
        server.replies += u64::from(server.life.is_alive(plan.at / SECOND));
        let stays = (steering.verdict, steering.backend) == (Verdict::SteeredPinned, plan.id);
        if stays || self.has_died_since(plan) { Ok(()) } else { Err(self.moved(plan, &steering)) }
    }

    fn has_died_since(&self, plan: Plan) -> bool {
        let died = self.servers[usize::from(plan.id)].record.died;
        died.is_some_and(|second| second >= plan.begun / SECOND)
    }

    fn moved(&self, plan: Plan, steering: &Steering) -> String {
        let (name, second) = (&self.servers[usize::from(plan.id)].name, plan.at / SECOND);
        format!("a call of {name} moved in second {second}: {steering:?}")
    }
}

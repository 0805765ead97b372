//! The model that the core is compared with.

use super::*;

/// A dialog as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Modelled {
    pub(super) backend: u16,
    pub(super) phase: Phase,
    pub(super) listener: u8,
    pub(super) peer: u64,
    pub(super) evidence: u32,
    pub(super) seen: u32,
}

/// The model: what is to become of dialogs, in the plainest words. It knows when a dialog must still be there and when it
/// may be gone, not when exactly somebody looks at it.
pub(super) struct Model {
    pub(super) dialogs: HashMap<u64, Modelled>,
    pub(super) now: u32,
    pub(super) network: Network,
}

/// What stays the same during a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    /// Whether answers come back through the balancer.
    pub(super) sees_answers: bool,
    /// Whether a backend's 503 or 3xx lets a call go elsewhere.
    pub(super) retries_refused: bool,
    /// Most calls in progress, by backend.
    pub(super) most_channels: [u32; 3],
    /// See [`Policy::choice`].
    pub(super) choice: u8,
}

pub(super) fn a_network() -> impl Strategy<Value = Network> {
    let most = prop_oneof![1 => Just(0), 2 => 1u32..4, 2 => Just(UNLIMITED)];
    (any::<bool>(), any::<bool>(), [most.clone(), most.clone(), most], 0u8..3).prop_map(
        |(sees_answers, retries_refused, most_channels, choice)| Network {
            sees_answers,
            retries_refused,
            most_channels,
            choice,
        },
    )
}

impl Model {
    pub(super) fn lifetime(phase: Phase) -> u32 {
        let s = lifetimes();
        match phase {
            Phase::Unanswered | Phase::Ringing => s.unanswered_ticks,
            Phase::Answered => s.answered_ticks,
            Phase::Subscribed => s.subscribed_ticks,
            _ => s.ended_ticks,
        }
    }

    /// A packet of a dialog that is alive.
    pub(super) fn packet(&self, dialog: &mut Modelled, m: &Message, from_backend: bool) {
        let now = self.now;
        let by_party = from_backend || m.other_side >> 32 == dialog.peer >> 32;
        if !from_backend {
            dialog.listener = m.listener;
        }
        let before = dialog.phase;
        match m.kind {
            Kind::Request(method) => {
                Model::request(dialog, method, m, by_party, from_backend || self.network.sees_answers);
            }
            Kind::Response(code) if by_party => {
                Model::answer(dialog, code, m, from_backend && self.network.retries_refused);
            }
            _ => {}
        }
        // Packets that change nothing are noted no oftener than 64 times in a lifetime.
        let age = now.wrapping_sub(dialog.seen);
        if dialog.phase != before || age > Model::lifetime(dialog.phase) / 64 {
            dialog.seen = now;
        }
    }

    /// What a request changes.
    pub(super) fn request(
        dialog: &mut Modelled,
        method: Method,
        m: &Message,
        by_party: bool,
        sees_answers: bool,
    ) {
        let opened = is_open(dialog.phase);
        let refused = dialog.evidence != 0 && dialog.evidence == m.headers.branch;
        let nothing_to_go_by = m.headers.branch == 0 && m.headers.to_tag == 0;
        match method {
            Method::Invite | Method::Ack if nothing_to_go_by => {}
            Method::Invite if dialog.phase == Phase::Answered => {}
            Method::Invite if m.headers.to_tag != 0 => dialog.phase = Phase::Answered,
            // The same INVITE again.
            Method::Invite if m.headers.branch == dialog.evidence => {}
            Method::Invite => {
                dialog.phase = Phase::Unanswered;
                dialog.evidence = m.headers.branch;
            }
            Method::Ack if opened && refused => dialog.phase = Phase::Ended,
            Method::Ack if opened && sees_answers && dialog.phase != Phase::Cancelled => {}
            Method::Ack if opened => {
                dialog.phase = Phase::Answered;
                dialog.evidence = m.headers.to_tag;
            }
            Method::Cancel if opened && by_party => dialog.phase = Phase::Cancelled,
            Method::Bye if opened && by_party => dialog.phase = Phase::Ended,
            Method::Bye if dialog.phase == Phase::Answered => {
                let knows = dialog.evidence != 0 && dialog.evidence == m.headers.to_tag;
                if by_party || knows {
                    dialog.phase = Phase::Ended;
                }
            }
            _ => {}
        }
    }
}

/// An INVITE without a final answer.
pub(super) fn is_open(phase: Phase) -> bool {
    matches!(phase, Phase::Unanswered | Phase::Ringing | Phase::Cancelled)
}

impl Model {
    /// What an answer of a party changes.
    pub(super) fn answer(dialog: &mut Modelled, code: u16, m: &Message, turns_away: bool) {
        if code < 200 {
            if code > 100 && dialog.phase == Phase::Unanswered {
                dialog.phase = Phase::Ringing;
            }
            return;
        }
        let to_invite = dialog.evidence != 0 && dialog.evidence == m.headers.branch;
        if !to_invite || !is_open(dialog.phase) {
            return;
        }
        let cancelled = dialog.phase == Phase::Cancelled;
        if code >= 300 {
            let elsewhere = code < 400 || code == 503;
            let turned_away = turns_away && elsewhere && !cancelled;
            dialog.phase = if turned_away { Phase::TurnedAway } else { Phase::Ended };
        } else if !cancelled {
            dialog.phase = Phase::Answered;
            dialog.evidence = m.headers.to_tag;
        }
    }

    /// Calls in progress at a backend.
    pub(super) fn channels(&self, backend: u16) -> u64 {
        let of_it = self.dialogs.values().filter(|d| d.backend == backend);
        of_it.filter(|d| is_open(d.phase) || d.phase == Phase::Answered).count() as u64
    }

    /// Whether a backend has room for a call.
    pub(super) fn has_room(&self, backend: u16) -> bool {
        let most = self.network.most_channels[backend as usize];
        most == UNLIMITED || self.channels(backend) < u64::from(most)
    }

    /// Whether a new call may be refused for this reason. One backend is passed over, if it has just turned the call away.
    pub(super) fn is_refused(&self, verdict: Verdict, wills: &[u8; 3], except: Option<u16>) -> bool {
        let takes: Vec<u16> = (0..3).filter(|id| wills[*id as usize] == will::ENABLED).collect();
        match verdict {
            Verdict::RefusedDown => takes.is_empty(),
            Verdict::RefusedFull => {
                !takes.is_empty() && takes.iter().all(|id| Some(*id) == except || !self.has_room(*id))
            }
            _ => false,
        }
    }
}

/// Slots of a table of two buckets, which every dialog may stand in.
pub(super) const SLOTS: usize = 8;

impl Model {
    /// Whether no slot is free, and none holds a dialog whose lifetime is over.
    pub(super) fn crowded(&self, story: &Story) -> bool {
        let dialogs = story.tables.dialogs();
        let over = |phase, seen: u32| self.now.wrapping_sub(seen) >= Model::lifetime(phase);
        dialogs.len() == SLOTS && !self.dialogs.values().any(|d| over(d.phase, d.seen))
    }

    /// Somebody has just looked at the whole table: whatever is over is gone.
    pub(super) fn all_are_young(&self, story: &Story) -> Result<(), TestCaseError> {
        for (key, dialog) in story.tables.dialogs() {
            let over = expiry::is_over((&story.tables).settings(), dialog.state, self.now);
            prop_assert!(!over, "{:?} of {:?} is over and still there", dialog, key);
        }
        Ok(())
    }
}

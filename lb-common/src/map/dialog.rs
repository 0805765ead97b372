//! DIALOGS: what is remembered of a call.
//!
//! The table is an array of buckets of four slots. A dialog has two buckets it may stand in, which follow from its key; see
//! [`crate::decide::table`]. Slots never move and never turn into something else, so a CPU that still looks at a slot
//! when its dialog is gone sees another dialog at worst, and notices by its generation.

use core::mem::{align_of, size_of};

/// What names a dialog. The service belongs to it: a proxy behind us keeps the Call-ID when it sends a call on to another of
/// our services.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DialogKey {
    /// Keyed hash of the Call-ID.
    pub call_key: u64,
    /// Service id.
    pub service: u32,
    /// Always 0.
    pub _pad: u32,
}

const _: () = assert!(size_of::<DialogKey>() == 16);

impl DialogKey {
    /// The key of a call of a service.
    #[inline(always)]
    pub const fn new(call_key: u64, service: u16) -> DialogKey {
        DialogKey { call_key, service: service as u32, _pad: 0 }
    }
}

/// Where a dialog stands. In a [`State`] it is a plain number, so that any bytes are a value; 0 is a slot without a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// An INVITE without any answer.
    Unanswered = 1,
    /// An accepted INVITE.
    Answered = 2,
    /// A CANCEL was seen, the final answer was not.
    Cancelled = 3,
    /// Refused, or ended by BYE; retransmissions still follow the pin.
    Ended = 4,
    /// A request outside a dialog, REGISTER and OPTIONS for instance.
    Transaction = 5,
    /// A subscription.
    Subscribed = 6,
    /// An INVITE with a provisional answer above 100 (`nat` only, which sees answers).
    Ringing = 7,
    /// Refused by the backend itself with a 503 or redirected with a 3xx: the next INVITE may go elsewhere (`nat` only).
    TurnedAway = 8,
    /// A slot that a CPU is writing. Steers nothing.
    Claimed = 9,
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 9] = [
        Phase::Unanswered,
        Phase::Answered,
        Phase::Cancelled,
        Phase::Ended,
        Phase::Transaction,
        Phase::Subscribed,
        Phase::Ringing,
        Phase::TurnedAway,
        Phase::Claimed,
    ];

    /// The name in CLI and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Unanswered => "unanswered",
            Phase::Answered => "answered",
            Phase::Cancelled => "cancelled",
            Phase::Ended => "ended",
            Phase::Transaction => "transaction",
            Phase::Subscribed => "subscribed",
            Phase::Ringing => "ringing",
            Phase::TurnedAway => "turned-away",
            Phase::Claimed => "claimed",
        }
    }

    /// The phase of a number in a [`State`].
    pub fn from_number(number: u8) -> Option<Phase> {
        Phase::ALL.into_iter().find(|p| *p as u8 == number)
    }
}

/// Oldest age that the 16 bits of [`State::seen`] tell, in ticks; more than any lifetime. The 256 values above it are
/// times that are yet to come.
pub const MAX_AGE: u32 = 0xfeff;

const _: () = assert!(crate::limits::MAX_LIFETIME_SECONDS / 8 * 10 < MAX_AGE);

/// The state word: everything that decides. It is changed only by compare-and-swap of all 8 bytes, generation included:
/// the slot may belong to another dialog by now.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Backend id: the pin.
    pub backend: u16,
    /// A [`Phase`].
    pub phase: u8,
    /// The service's listener that the last request arrived at: replies leave from there (RFC 3581 section 4).
    pub listener: u8,
    /// Low 16 bits of the tick at which the dialog was last seen.
    pub seen: u16,
    /// Counts the lives of the slot, so that two of them differ.
    pub generation: u16,
}

const _: () = assert!(size_of::<State>() == 8 && align_of::<State>() == 8);

impl State {
    /// The state as one word, little endian, as it lies in memory.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.backend as u64
            | (self.phase as u64) << 16
            | (self.listener as u64) << 24
            | (self.seen as u64) << 32
            | (self.generation as u64) << 48
    }

    /// The state of a word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> State {
        State {
            backend: word as u16,
            phase: (word >> 16) as u8,
            listener: (word >> 24) as u8,
            seen: (word >> 32) as u16,
            generation: (word >> 48) as u16,
        }
    }

    /// Whether it steers packets.
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.phase >= Phase::Unanswered as u8 && self.phase <= Phase::TurnedAway as u8
    }

    /// Whether it is a call in progress, which takes a channel of its backend.
    #[inline(always)]
    pub const fn holds_channel(self) -> bool {
        const CALLS: u32 = 1 << Phase::Unanswered as u8
            | 1 << Phase::Ringing as u8
            | 1 << Phase::Answered as u8
            | 1 << Phase::Cancelled as u8;
        CALLS >> (self.phase & 31) & 1 != 0
    }

    /// Whether an answer has yet to confirm it: such entries may fill half the table only.
    #[inline(always)]
    pub const fn is_unconfirmed(self) -> bool {
        self.phase == Phase::Unanswered as u8 || self.phase == Phase::Transaction as u8
    }

    /// Ticks since it was last seen, at most [`MAX_AGE`]. 0 if that is yet to come: another CPU may have noted a packet
    /// after this one read its clock, and that is no reason to take the dialog for 65,535 ticks old.
    #[inline(always)]
    pub const fn age(self, now: u32) -> u32 {
        let age = (now as u16).wrapping_sub(self.seen) as u32;
        if age > MAX_AGE { 0 } else { age }
    }
}

/// What tells how a dialog goes on, guarded by the generation like the state word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Without a final answer: hash of the topmost Via branch of the INVITE, which the ACK of a refusal repeats
    /// (RFC 3261 17.1.1.3). Answered: hash of the To tag of the ACK, which a BYE carries. 0: not known.
    pub hash: u32,
    /// As in the state word.
    pub generation: u16,
    /// Explicit padding.
    pub _pad: u16,
}

const _: () = assert!(size_of::<Evidence>() == 8);

impl Evidence {
    /// The evidence as one word, little endian, as it lies in memory.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.hash as u64 | (self.generation as u64) << 32 | (self._pad as u64) << 48
    }

    /// The evidence of a word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Evidence {
        Evidence { hash: word as u32, generation: (word >> 32) as u16, _pad: (word >> 48) as u16 }
    }
}

/// One slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialog {
    /// Keyed hash of the Call-ID.
    pub call_key: u64,
    /// Service id.
    pub service: u32,
    /// Hash of the address and port of the dialog's other side, the one that is not the backend.
    pub peer: u32,
    /// See [`Evidence`].
    pub evidence: Evidence,
    /// The state word. Whoever reads the slot reads it first and once more at the end: with another generation then, what
    /// was read between belongs to two dialogs.
    pub state: State,
}

const _: () = assert!(size_of::<Dialog>() == 32);

impl Dialog {
    /// What names it.
    #[inline(always)]
    pub const fn key(&self) -> DialogKey {
        DialogKey { call_key: self.call_key, service: self.service, _pad: 0 }
    }
}

/// Slots of a bucket: two cache lines, which a CPU fetches together.
pub const BUCKET_SLOTS: u32 = 4;

/// Value of DIALOGS.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The dialogs in it, those of phase 0 unused.
    pub slots: [Dialog; BUCKET_SLOTS as usize],
}

const _: () = assert!(size_of::<Bucket>() == 128);

/// Buckets of a table for `dialogs` dialogs: a power of two, at least twice as many slots as dialogs. At that number three
/// dialogs of ten thousand find both their buckets full; at three quarters of it, one of a hundred thousand.
pub const fn buckets_for(dialogs: u32) -> u32 {
    let buckets = dialogs.div_ceil(BUCKET_SLOTS / 2).next_power_of_two();
    if buckets < 2 { 2 } else { buckets }
}

/// The one value of DIALOG_TALLY, kept by atomic additions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Dialogs in DIALOGS.
    pub entries: u64,
    /// Entries that no answer has confirmed.
    pub unconfirmed: u64,
}

const _: () = assert!(size_of::<Tally>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_word_is_the_memory_layout() {
        let state = State { backend: 0x0201, phase: 3, listener: 4, seen: 0x0605, generation: 0x0807 };
        assert_eq!(state.to_word().to_le_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(State::from_word(state.to_word()), state);
    }

    #[test]
    fn age_survives_the_wrap_of_seen() {
        let state = State { seen: 0xfff0, ..State::default() };
        assert_eq!(state.age(0x1_0010), 0x20);
        assert_eq!(state.age(0xfff0 + MAX_AGE), MAX_AGE);
    }

    #[test]
    fn a_time_yet_to_come_is_no_age() {
        let state = State { seen: 0xfff0, ..State::default() };
        assert_eq!(state.age(0xffef), 0);
        assert_eq!(state.age(0xfff0 + MAX_AGE + 1), 0);
    }

    #[test]
    fn phases_have_numbers_and_all_but_one_live() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_number(phase as u8), Some(phase));
            let state = State { phase: phase as u8, ..State::default() };
            assert_eq!(state.is_live(), phase != Phase::Claimed);
            let call =
                matches!(phase, Phase::Unanswered | Phase::Ringing | Phase::Answered | Phase::Cancelled);
            assert_eq!(state.holds_channel(), call, "{phase:?}");
        }
        assert!(!State::default().is_live());
        assert!(!State { phase: 32, ..State::default() }.is_live());
    }

    #[test]
    fn a_table_has_twice_as_many_slots_as_dialogs() {
        assert_eq!(buckets_for(1 << 20), 1 << 19);
        assert_eq!(buckets_for((1 << 20) + 1), 1 << 20);
        assert_eq!(buckets_for(1024), 512);
        assert_eq!((buckets_for(0), buckets_for(1)), (2, 2));
    }
}

//! What tells the requests of a dialog apart: the To tag and the topmost Via's branch.

use super::{
    Window,
    lines::onward,
    notes::{Notes, Place},
    parameter::parameter,
};
use crate::hash::HashKey;

/// Hashes of two header parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialogHeaders {
    /// Of the To header's tag (RFC 3261 section 19.3): a request that carries one belongs to a dialog. 0: absent.
    pub to_tag: u32,
    /// Of the topmost Via's branch (RFC 3261 section 8.1.1.7): names the transaction. 0: absent.
    pub branch: u32,
}

/// Reads the To tag and the topmost Via's branch of the message whose Call-ID [`super::call_id`] has looked for, with the same
/// notes. The hashes are those of [`crate::hash::fold`] over SipHash-1-3 of the values' bytes.
///
/// The first To and the first Via count, of a Via with several values the first value. A parameter is one of the
/// header (RFC 3261 section 7.3.1): not of the URI in angle brackets, not in quotes; a folded line is one line. A header behind
/// the Call-ID is searched for in [`MAX_DIALOG_STEPS`](crate::limits::MAX_DIALOG_STEPS) steps from there, the reading of one
/// header gives up after [`MAX_PARAMETER_STEPS`](crate::limits::MAX_PARAMETER_STEPS).
#[inline(always)]
pub fn dialog_headers<W: Window, N: Notes>(w: W, notes: N, key: &HashKey) -> DialogHeaders {
    if notes.lacks(Place::TO) || notes.lacks(Place::VIA) {
        onward(w, notes);
    }
    DialogHeaders {
        to_tag: parameter(w, notes, Place::TO, key),
        branch: parameter(w, notes, Place::VIA, key),
    }
}

//! What tells the requests of a dialog apart: the To tag and the topmost Via's branch.

use super::{
    Window,
    lines::Wanted,
    parameter::{Parameter, parameter},
    swar::Pattern,
};
use crate::{
    hash::HashKey,
    limits::{MAX_DIALOG_STEPS, MAX_DIALOG_TAIL_STEPS},
};

/// Hashes of two header parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialogHeaders {
    /// Of the To header's tag (RFC 3261 section 19.3): a request that carries one belongs to a dialog. 0: absent.
    pub to_tag: u32,
    /// Of the topmost Via's branch (RFC 3261 section 8.1.1.7): names the transaction. 0: absent.
    pub branch: u32,
}

/// Reads the To tag and the topmost Via's branch of the message whose start line begins at `from`. The hashes are those of
/// [`crate::hash::fold`] over SipHash-1-3 of the values' bytes.
///
/// The first To and the first Via count, of a Via with several values the first value. A parameter is one of the
/// header (RFC 3261 section 7.3.1): not of the URI in angle brackets, not in quotes; a folded line is one line. The search
/// gives up after [`MAX_DIALOG_STEPS`] steps, the reading of one header after
/// [`MAX_PARAMETER_STEPS`](crate::limits::MAX_PARAMETER_STEPS).
#[inline(always)]
pub fn dialog_headers<W: Window>(w: W, from: usize, key: &HashKey) -> DialogHeaders {
    DialogHeaders {
        to_tag: parameter::<W, To>(w, from as u32, key),
        branch: parameter::<W, Via>(w, from as u32, key),
    }
}

struct To;

impl Wanted for To {
    const LONG: Pattern = Pattern::start(b"to");
    const SHORT: Pattern = Pattern::start(b"t");
    const STEPS: usize = MAX_DIALOG_STEPS;
    const TAIL_STEPS: usize = MAX_DIALOG_TAIL_STEPS;
    const COLON: bool = false;
}

impl Parameter for To {
    const NAME: Pattern = Pattern::start(b"tag");
    const LIST: bool = false;
}

struct Via;

impl Wanted for Via {
    const LONG: Pattern = Pattern::start(b"via");
    const SHORT: Pattern = Pattern::start(b"v");
    const STEPS: usize = MAX_DIALOG_STEPS;
    const TAIL_STEPS: usize = MAX_DIALOG_TAIL_STEPS;
    const COLON: bool = false;
}

impl Parameter for Via {
    const NAME: Pattern = Pattern::start(b"branch");
    const LIST: bool = true;
}

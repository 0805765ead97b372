//! What the search for the Call-ID passes on its way and somebody may ask for later: where headers begin.

use core::cell::Cell;

/// A place in a message that is noted: an index below [`PLACES`]. No enum, of which the compiler would know that it is small:
/// it would leave out the mask that tells the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// Behind the name of the first From header.
    pub const FROM: Place = Place(0);
    /// Behind the name of the first To header.
    pub const TO: Place = Place(1);
    /// Behind the name of the topmost Via header.
    pub const VIA: Place = Place(2);
    /// Where to look for headers that were not passed: behind the name of the Call-ID and its colon.
    pub const REST: Place = Place(3);

    /// All of them.
    pub const ALL: [Place; PLACES] = [Place::FROM, Place::TO, Place::VIA, Place::REST];

    /// The place of an index; of a greater number that of its remainder.
    #[inline(always)]
    pub const fn from_index(index: u64) -> Place {
        Place(index as u32)
    }

    /// The place as an index.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize & (PLACES - 1)
    }
}

const _: () = assert!(PLACES.is_power_of_two());

/// Number of places.
pub const PLACES: usize = 4;

/// Where places are noted as offsets in the message, 0 for none. The kernel keeps them in a map: carried along in variables
/// they would make the verifier walk through the search once for each set of headers that can have been passed.
///
/// Notes are of one message, and empty before [`super::call_id`] searches it.
pub trait Notes: Copy {
    /// Writes an offset down.
    fn note(&self, place: Place, offset: u32);
    /// The offset that was written down last.
    fn noted(&self, place: Place) -> u32;
    /// Whether the place was not noted yet.
    #[inline(always)]
    fn lacks(&self, place: Place) -> bool {
        self.noted(place) == 0
    }
}

/// Notes in plain memory.
#[derive(Clone, Debug, Default)]
pub struct Noted([Cell<u32>; PLACES]);

impl Notes for &Noted {
    #[inline(always)]
    fn note(&self, place: Place, offset: u32) {
        self.0[place.index()].set(offset);
    }

    #[inline(always)]
    fn noted(&self, place: Place) -> u32 {
        self.0[place.index()].get()
    }
}

//! The numbers that the program, the pinned maps and the daemon compare before they share memory.

/// Raised whenever a key, a value, a map's kind or the meaning of a field changes. A daemon that finds pinned maps of
/// another number brings the dialogs in them over into new ones if it may read them; else it touches nothing and says so.
pub const ABI: u32 = 4;

/// The lowest [`ABI`] that is the same but for where things lie: its versions may read this layout by the names of its fields,
/// and this one theirs.
///
/// It stays when a field or a map comes, goes, moves, gets wider or narrower: only ABI is raised then. It is raised to the new
/// ABI when a name that stays comes to mean something else: other numbers of phases or wills, another unit, another hash behind
/// a key, another arithmetic behind an index.
pub const READABLE_FROM: u32 = 3;

/// What a layout says of itself, see [`ABI`] and [`READABLE_FROM`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Its number.
    pub abi: u32,
    /// The lowest number whose versions may read it; 0: it does not say.
    pub readable_from: u32,
}

impl Numbers {
    /// Those of this version.
    pub const OWN: Numbers = Numbers { abi: ABI, readable_from: READABLE_FROM };

    /// Whether a version of these numbers may read a layout of others. The newer of two knows what the older means, and says
    /// whether that still holds.
    pub const fn may_read(self, other: Numbers) -> bool {
        if other.abi <= self.abi {
            other.abi >= self.readable_from
        } else {
            other.readable_from != 0 && other.readable_from <= self.abi
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn numbers(abi: u32, readable_from: u32) -> Numbers {
        Numbers { abi, readable_from }
    }

    #[test]
    fn the_newer_of_two_says_whether_they_mean_the_same() {
        let own = numbers(6, 4);
        assert!(own.may_read(own));
        assert!(own.may_read(numbers(5, 5)) && own.may_read(numbers(4, 0)));
        assert!(!own.may_read(numbers(3, 3)) && !own.may_read(numbers(0, 0)));
        assert!(own.may_read(numbers(7, 6)) && own.may_read(numbers(1000, 1)));
        assert!(!own.may_read(numbers(7, 7)) && !own.may_read(numbers(7, 0)));
    }

    #[test]
    fn both_of_two_say_the_same() {
        for (a, b) in [(numbers(6, 4), numbers(4, 2)), (numbers(6, 5), numbers(4, 2))] {
            assert_eq!(a.may_read(b), b.may_read(a));
        }
    }

    #[test]
    fn this_version_reads_those_that_were_shipped() {
        assert!(Numbers::OWN.may_read(Numbers::OWN) && Numbers::OWN.may_read(numbers(3, 0)));
        assert!(!Numbers::OWN.may_read(numbers(READABLE_FROM - 1, 0)));
    }
}

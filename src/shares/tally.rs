//! Who has how many of a limited number of places.

use std::collections::HashMap;

use super::CallerId;

/// Counts the places that are taken, in all and by each caller. It knows only callers who have some.
#[derive(Debug, Default)]
pub struct Tally {
    taken: usize,
    by_caller: HashMap<CallerId, usize>,
}

impl Tally {
    /// Returns how many places are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Whether a caller has no place.
    pub fn has_none(&self, caller: Option<CallerId>) -> bool {
        caller.is_none_or(|caller| !self.by_caller.contains_key(&caller))
    }

    /// Takes places for a caller, and tells whether there is room: as many must be free as would then be his.
    ///
    /// Without a caller they are for the server itself, which may have all of `max`.
    #[must_use]
    pub fn try_take(&mut self, caller: Option<CallerId>, places: usize, max: usize) -> bool {
        let his = caller.and_then(|caller| self.by_caller.get(&caller)).copied().unwrap_or(0);
        let has_room = his + places <= max.saturating_sub(self.taken);
        if has_room {
            self.take(caller, places);
        }
        has_room
    }

    /// Takes places for a caller, whether or not there is room.
    pub fn take(&mut self, caller: Option<CallerId>, places: usize) {
        self.taken += places;
        if let Some(caller) = caller {
            *self.by_caller.entry(caller).or_default() += places;
        }
    }

    /// Gives places back that were taken for this caller.
    pub fn give_back(&mut self, caller: Option<CallerId>, places: usize) {
        self.taken = self.taken.saturating_sub(places);
        let Some(caller) = caller else { return };
        if let Some(his) = self.by_caller.get_mut(&caller) {
            *his = his.saturating_sub(places);
            if *his == 0 {
                self.by_caller.remove(&caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(number: u32) -> Option<CallerId> {
        Some(CallerId::of(&number))
    }

    /// Lets each of some callers take places, in turns, until nobody gets one more. Returns what each has.
    fn greedy(callers: u32, max: usize) -> Vec<usize> {
        let (mut tally, mut taken) = (Tally::default(), vec![0; callers as usize]);
        loop {
            let before = tally.taken();
            for (number, taken) in (0..callers).zip(&mut taken) {
                *taken += usize::from(tally.try_take(caller(number), 1, max));
            }
            if tally.taken() == before {
                return taken;
            }
        }
    }

    #[test]
    fn one_caller_has_half_and_others_always_find_room() {
        assert_eq!(greedy(1, 4096), [2048]);
        assert_eq!(greedy(2, 4096), [1366, 1365]);
        assert_eq!(greedy(3, 4096), [1024; 3]);
        assert_eq!(greedy(99, 4096).iter().sum::<usize>(), 4096 - 40);
        assert_eq!((greedy(1, 1), greedy(1, 2), greedy(1, 3)), (vec![1], vec![1], vec![2]));
    }

    #[test]
    fn what_is_given_back_can_be_had_again_and_leaves_nothing_behind() {
        let mut tally = Tally::default();
        assert!(tally.try_take(caller(1), 2, 4));
        assert!(!tally.try_take(caller(1), 1, 4));
        assert!(tally.try_take(caller(2), 1, 4));
        assert!(!tally.has_none(caller(2)) && tally.has_none(caller(3)) && tally.has_none(None));
        tally.give_back(caller(1), 2);
        tally.give_back(caller(2), 1);
        assert_eq!((tally.taken(), tally.by_caller.len()), (0, 0));
        assert!(tally.try_take(caller(1), 2, 4));
    }

    #[test]
    fn the_server_itself_may_have_all() {
        let mut tally = Tally::default();
        assert!(tally.try_take(None, 4, 4));
        assert!(!tally.try_take(None, 1, 4) && !tally.try_take(caller(1), 1, 4));
        tally.give_back(None, 1);
        assert!(tally.try_take(caller(1), 1, 4));
    }
}

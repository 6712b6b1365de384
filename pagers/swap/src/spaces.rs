//! Which of the map's key spaces belongs to which object.

use alloc::vec::Vec;

use abi::Code;
use pager::ObjectId;

use crate::map::Key;

/// The spaces that are given out, by number.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    owners: Vec<Option<ObjectId>>,
}

impl Spaces {
    /// A space for a new object.
    pub(crate) fn add(&mut self, object: ObjectId) -> Result<(), Code> {
        if let Some(free) = self.owners.iter_mut().find(|owner| owner.is_none()) {
            *free = Some(object);
            return Ok(());
        }
        if self.owners.len() == usize::from(Key::SPACES) {
            return Err(Code::RESOURCE_SHORTAGE);
        }
        self.owners.try_reserve(1).map_err(|_| Code::RESOURCE_SHORTAGE)?;
        self.owners.push(Some(object));
        Ok(())
    }

    /// An object's space.
    pub(crate) fn get(&self, object: ObjectId) -> Option<u16> {
        self.owners.iter().position(|owner| *owner == Some(object)).map(|space| space as u16)
    }

    /// The object is no more; its space, whose pages are to be forgotten now, is given out again.
    pub(crate) fn remove(&mut self, object: ObjectId) -> Option<u16> {
        let space = self.get(object)?;
        self.owners[usize::from(space)] = None;
        Some(space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_used_again_and_run_out() {
        let mut spaces = Spaces::default();
        (0..u32::from(Key::SPACES)).for_each(|id| spaces.add(ObjectId(id)).unwrap());
        assert_eq!(spaces.add(ObjectId(9999)), Err(Code::RESOURCE_SHORTAGE));
        assert_eq!((spaces.remove(ObjectId(7)), spaces.remove(ObjectId(7))), (Some(7), None));
        spaces.add(ObjectId(9999)).unwrap();
        assert_eq!((spaces.get(ObjectId(9999)), spaces.get(ObjectId(7))), (Some(7), None));
    }
}

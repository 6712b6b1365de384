//! When the default pager ends: what it had is lost, and nothing else is.
//!
//! Contents that were only there are marked: whoever needs them is told, now and ever after, since the next default pager knows nothing of them. What is in
//! RAM is dirty again, wherever it was on its way to, and goes to the next one. Transfers under way end by themselves; those of another
//! default pager's time count for nothing ([`Vm::is_current`]).

use abi::Code;

use crate::home::Home;
use crate::leaf::LEAF_PAGES;
use crate::page::Page;
use crate::supply::Wake;
use crate::transfer::Transfer;
use crate::{Pmap, Vm};

impl<P: Pmap> Vm<P> {
    /// The default pager is gone, and [`Core::set_default_policy`](crate::Core::set_default_policy) knows.
    pub fn default_pager_died(&self, code: Code, wake: Wake<'_>) {
        let pages = self.core.swap.lock().extents_ever() * LEAF_PAGES as u64;
        for page in 0..pages {
            self.lose(page, code, wake);
        }
        self.core.swap.lock().forgive();
        self.core.set_swap_full(false);
    }

    /// Pages of a request that the default pager died over.
    pub fn request_lost(&self, first: u64, pages: u64, code: Code, wake: Wake<'_>) {
        for page in first..first + pages {
            self.lose(page, code, wake);
        }
    }

    fn lose(&self, page: u64, code: Code, wake: Wake<'_>) {
        Home::Swap.with(self.core, page, |cell| match cell.page {
            Page::Paged | Page::Requested { .. } | Page::Failed { known: true, .. } => *cell.page = Page::Lost { code },
            Page::Resident { dirty, kept, .. } if *kept => (*dirty, *kept) = (true, false),
            Page::Returning { .. } => self.not_returning(cell.page),
            Page::Filling { known, .. } => *known = false,
            _ => (),
        });
        self.answered(&Home::Swap, page);
        wake(Home::Swap.key(page));
    }

    /// Whether the pager that a transfer is for is still there.
    pub(crate) fn is_current(&self, transfer: &Transfer) -> bool {
        match &transfer.home {
            Home::Swap => self.core.reign() == transfer.reign,
            Home::Object(object) => !object.is_dead(),
        }
    }
}

//! Pages that came from the server: opened if they were sealed, and given to whoever asked.
//!
//! What doesn't open is lost: it is an error for whoever wants it, now and later, until it is written anew. The pages around it are none the worse.

use abi::Code;
use abi::vm::PAGE_SIZE;
use pager::{Control, Run};
use runtime::{Pages, println};

use crate::core_state::Core;
use crate::seal::Stamp;

impl Core {
    /// A read was answered. The stamps are those that its pages had when it was asked for; none if pages aren't sealed.
    pub(crate) fn arrived(&mut self, control: &Control, run: Run, mut pages: Pages, stamps: &[Stamp]) {
        let broken = self.open(control, run, &mut pages, stamps);
        if broken.is_empty() {
            self.counters.pages_in += run.pages();
            return control.supply(run.offset(), pages);
        }
        let mut rest = Some(run);
        while let Some(from) = rest {
            let is_broken = |page: u64| broken.contains(&page);
            let this = is_broken(from.first_page());
            let count = (from.first_page()..from.first_page() + from.pages()).take_while(|page| is_broken(*page) == this).count() as u64;
            let (Some(part), after) = (from.part(0, count), from.part(count, from.pages() - count)) else { return };
            rest = after;
            match this {
                true => control.error(part, Code::MEMORY_ERROR),
                false => self.supply_part(control, run, part, &pages),
            }
        }
    }

    fn supply_part(&mut self, control: &Control, run: Run, part: Run, pages: &Pages) {
        let from = (part.offset() - run.offset()) as usize;
        let bytes = pages.get(from..from + part.length() as usize);
        match (bytes, Pages::allocate(part.length())) {
            (Some(bytes), Ok(mut copy)) => {
                copy.copy_from_slice(bytes);
                self.counters.pages_in += part.pages();
                control.supply(part.offset(), copy);
            }
            _ => control.error(part, Code::RESOURCE_SHORTAGE),
        }
    }

    /// Opens sealed pages in place; gives the numbers of those that are broken, which are lost.
    fn open(&mut self, control: &Control, run: Run, pages: &mut Pages, stamps: &[Stamp]) -> alloc::vec::Vec<u64> {
        let mut broken = alloc::vec::Vec::new();
        let Some(seal) = &self.seal else { return broken };
        let object = control.object();
        let numbered = (run.first_page()..).zip(pages.chunks_exact_mut(PAGE_SIZE as usize)).zip(stamps);
        for ((page, bytes), stamp) in numbered {
            if seal.open(object, page, stamp, bytes).is_ok() {
                continue;
            }
            broken.push(page);
            if let Some(layout) = self.objects.get_mut(object).filter(|layout| layout.stamp(page) == *stamp) {
                layout.lose(page);
            }
        }
        self.counters.pages_broken += broken.len() as u64;
        self.counters.read_errors += u64::from(!broken.is_empty());
        if let [first, ..] = broken[..] {
            let count = broken.len();
            println!(
                "net: the server gave {count} pages that are not what it was given (page {first} of object {}): they are lost",
                object.0
            );
        }
        broken
    }
}

//! Address-space identifiers: tags that let TLB entries of several spaces live side by side.
//!
//! There are 256 or 65536 of them and any number of spaces, so they are lent by generation. A space's [`Context`] holds the generation
//! and the ASID it got in it. When all are lent, a new generation begins: every space gets a new ASID the next time it runs, and every CPU
//! invalidates all it holds before it takes up an ASID of the new generation. Only the ASIDs of spaces that are running at that moment stay
//! theirs (*reserved*), as nobody tells their CPUs. It is the algorithm of Linux (arch/arm64/mm/context.c).
//!
//! One invalidation for all CPUs when the generation begins would not do: a CPU that has called `activate` and not yet written TTBR0 still
//! walks with the ASID it had before, which is not reserved, and would fill its TLB again after the invalidation.
//!
//! ASID 0 is never lent: it is in TTBR0 when no space is.

use crate::hardware::Hardware;
use alloc::boxed::Box;
use core::iter::repeat_with;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use spin::Mutex;

/// Bits of a context below the generation.
const ASID_BITS: u32 = 16;
const ASID_MASK: u64 = (1 << ASID_BITS) - 1;
const FIRST_GENERATION: u64 = 1 << ASID_BITS;

/// A space's generation and ASID; 0 before its first.
#[derive(Debug, Default)]
pub struct Context(AtomicU64);

impl Context {
    /// Never ran, has no ASID.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The ASID its translations are tagged with in all TLBs that hold any; None if it never ran. One of an older generation may belong to another
    /// space by now: to invalidate that one's entries is harmless.
    pub fn asid(&self) -> Option<u16> {
        match self.0.load(SeqCst) {
            0 => None,
            context => Some((context & ASID_MASK) as u16),
        }
    }
}

/// Lends the ASIDs.
pub struct Asids {
    generation: AtomicU64,
    /// For each CPU the context it runs, or 0 if a generation began since it took it up.
    active: Box<[AtomicU64]>,
    lent: Mutex<Lent>,
}

/// What the lock protects.
struct Lent {
    /// A bit for each ASID that is lent in this generation.
    map: Box<[u64]>,
    /// How many ASIDs there are.
    count: usize,
    /// Where the search for a free one starts.
    next: usize,
    /// For each CPU the context that it ran when the generation began.
    reserved: Box<[u64]>,
    /// For each CPU whether its TLB may have entries of an older generation.
    stale: Box<[bool]>,
}

impl Asids {
    /// `count` ASIDs (256 or 65536, by ID_AA64MMFR0_EL1.ASIDBits and TCR_EL1.AS) for so many CPUs.
    ///
    /// # Panics
    /// If there are too few for every CPU to run a space while another gets one: a mistake at boot.
    pub fn new(count: usize, cpus: usize) -> Self {
        assert!(count <= 1 << ASID_BITS && count > cpus + 1, "{count} ASIDs are not enough for {cpus} CPUs");
        let mut lent = Lent {
            map: repeat_with(|| 0).take(count.div_ceil(64)).collect(),
            count,
            next: 1,
            reserved: repeat_with(|| 0).take(cpus).collect(),
            stale: repeat_with(|| false).take(cpus).collect(),
        };
        lent.take(0);
        Self {
            generation: AtomicU64::new(FIRST_GENERATION),
            active: repeat_with(AtomicU64::default).take(cpus).collect(),
            lent: Mutex::new(lent),
        }
    }

    /// The ASID with which `cpu` is going to run the space, for TTBR0 (`Tables::ttbr0`, then ISB). Called on that CPU, with interrupts masked until TTBR0 is written.
    pub fn activate(&self, cpu: usize, context: &Context, hardware: &impl Hardware) -> u16 {
        let wanted = context.0.load(SeqCst);
        let running = self.active[cpu].load(Relaxed);
        let is_current = wanted & !ASID_MASK == self.generation.load(SeqCst);
        // If a generation began meanwhile, `active` is 0 by now and the exchange fails; if it begins later, it finds what we ran.
        if running != 0 && is_current && self.active[cpu].compare_exchange(running, wanted, SeqCst, SeqCst).is_ok() {
            return (wanted & ASID_MASK) as u16;
        }
        self.activate_slowly(cpu, context, hardware)
    }

    fn activate_slowly(&self, cpu: usize, context: &Context, hardware: &impl Hardware) -> u16 {
        let mut lent = self.lent.lock();
        let mut current = context.0.load(SeqCst);
        if current & !ASID_MASK != self.generation.load(SeqCst) {
            current = self.renew(&mut lent, current);
            context.0.store(current, SeqCst);
            // Before this CPU walks with the new ASID: whoever does not see it yet (`Flush::finish`) wrote its entries before.
            hardware.dsb_ish();
        }
        if core::mem::take(&mut lent.stale[cpu]) {
            hardware.tlbi_local();
            hardware.dsb_ish();
        }
        self.active[cpu].store(current, SeqCst);
        (current & ASID_MASK) as u16
    }

    /// A context of this generation for a space that has an older one.
    fn renew(&self, lent: &mut Lent, old: u64) -> u64 {
        let generation = self.generation.load(SeqCst);
        let asid = old & ASID_MASK;
        if lent.keep(old, generation | asid) {
            return generation | asid;
        }
        // Its old number, if nobody has it in this generation.
        if old != 0 && lent.take(asid as usize) {
            return generation | asid;
        }
        if let Some(asid) = lent.find() {
            return generation | asid as u64;
        }
        let generation = self.begin_generation(lent, generation);
        let asid = lent.find().expect("there are more ASIDs than CPUs");
        generation | asid as u64
    }

    fn begin_generation(&self, lent: &mut Lent, old: u64) -> u64 {
        let generation = old + FIRST_GENERATION;
        self.generation.store(generation, SeqCst);
        lent.map.fill(0);
        lent.take(0);
        for (cpu, active) in self.active.iter().enumerate() {
            // A CPU that took up nothing since the last generation began still runs what was reserved then.
            let running = match active.swap(0, SeqCst) {
                0 => lent.reserved[cpu],
                running => running,
            };
            lent.reserved[cpu] = running;
            lent.take((running & ASID_MASK) as usize);
        }
        lent.next = 1;
        lent.stale.fill(true);
        generation
    }
}

impl Lent {
    /// Lends this ASID; false if it is lent.
    fn take(&mut self, asid: usize) -> bool {
        let bit = 1 << (asid % 64);
        let word = &mut self.map[asid / 64];
        let is_free = *word & bit == 0;
        *word |= bit;
        is_free
    }

    /// Lends a free one.
    fn find(&mut self) -> Option<usize> {
        let mut candidates = (self.next..self.count).chain(1..self.next);
        let asid = candidates.find(|asid| self.map[asid / 64] & (1 << (asid % 64)) == 0)?;
        self.take(asid);
        self.next = asid + 1;
        Some(asid)
    }

    /// If the context is reserved for CPUs that run it, makes it `new` in all places (it may run on several).
    fn keep(&mut self, old: u64, new: u64) -> bool {
        let mut found = false;
        for reserved in self.reserved.iter_mut().filter(|reserved| old != 0 && **reserved == old) {
            *reserved = new;
            found = true;
        }
        found
    }
}

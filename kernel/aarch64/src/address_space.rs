//! TEMPORARY
use crate::{cpu, mmu};
use nucleus::machine::Machine as _;
use spin::mutex::SpinMutex;
use abi::vm::Protection;
use frames::{FrameNumber, Pool, Purpose};
use vm::{NoTables, Pmap, Removed};

pub struct AddressSpace(SpinMutex<u64>);
impl AddressSpace {
    pub fn new() -> Option<Self> { let p = crate::memory::pool(); let f = p.allocate(Purpose::Kernel)?; p.zero(&f); Some(Self(SpinMutex::new(f.into_number().phys()))) }
    pub fn activate(pmap: Option<&Self>) {
        let v = match pmap { None => mmu::empty_root_physical(), Some(p) => *p.0.lock() | 1 << 48 };
        unsafe { cpu::write_register!("ttbr0_el1", v) };
    }
}
impl Pmap for AddressSpace {
    fn enter(&self, address: u64, frame: FrameNumber, protection: Protection) -> Result<(), NoTables> {
        let mut t = *self.0.lock();
        let p = crate::memory::pool();
        for level in 0..4 {
            let e = (crate::layout::linear(t) + 8 * (address >> (39 - 9 * level) & 511)) as *mut u64;
            unsafe {
                if level == 3 {
                    let mut v = frame.phys() | 3 | 2 << 2 | 3 << 8 | 1 << 10 | 1 << 11 | 1 << 6 | 1 << 53;
                    if !protection.contains(Protection::WRITE) { v |= 1 << 7 }
                    if !protection.contains(Protection::EXECUTE) { v |= 1 << 54 }
                    *e = v; cpu::dsb_ishst(); core::arch::asm!("ic ialluis","tlbi vmalle1is", "dsb ish", "isb");
                } else {
                    if *e == 0 { let f = p.allocate(Purpose::Kernel).ok_or(NoTables)?; p.zero(&f); cpu::dsb_ishst(); *e = f.into_number().phys() | 3; }
                    t = *e & 0xFFFF_FFFF_F000;
                }
            }
        }
        Ok(())
    }
    fn remove(&self, _s: u64, _e: u64, _r: &mut dyn FnMut(Removed)) {}
    fn restrict(&self, _s: u64, _e: u64, _p: Protection) {}
    fn take_accessed(&self, _a: u64) -> bool { false }
    fn set_accessed(&self, _a: u64) -> bool { false }
}

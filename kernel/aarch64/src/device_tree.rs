//! What the machine is made of, as its device tree says.
//!
//! Read once at boot, before there is a heap: the parts that are needed then go into fixed-size lists, the rest is iterated over
//! later (`devices/`). A tree that lacks something necessary ends in a [`BadTree`], which says what.

use crate::layout::{LINEAR_BASE, MAX_CPUS};
use arrayvec::ArrayVec;
use core::fmt::{self, Display};
use core::ops::Range;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

/// Ranges of physical memory.
pub type Ranges = ArrayVec<Range<u64>, 16>;

/// What is wrong with the device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTree(pub &'static str);

impl Display for BadTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device tree: {}", self.0)
    }
}

/// How PSCI is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    Hvc,
    Smc,
}

/// The interrupt controller's registers.
#[derive(Clone, Debug)]
pub enum Gic {
    /// Distributor, CPU interface.
    V2 { distributor: Range<u64>, cpu_interface: Range<u64> },
    /// Distributor, regions of redistributors.
    V3 { distributor: Range<u64>, redistributors: ArrayVec<Range<u64>, 4> },
}

/// A file that the loader has put into memory.
#[derive(Clone, Debug)]
pub struct BootModule {
    pub bytes: Range<u64>,
    pub line: &'static str,
}

/// An interrupt as a device node names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The GIC's number: 32 and up are shared.
    pub number: u32,
    /// Edge-triggered, else by level.
    pub edge: bool,
}

/// A GICv2m frame.
#[derive(Clone, Debug)]
pub struct MessageFrame {
    pub registers: Range<u64>,
    /// What the device tree says instead of the frame's own register.
    pub first: Option<u32>,
    pub count: Option<u32>,
}

/// A virtio-mmio slot.
#[derive(Clone, Debug)]
pub struct Slot {
    pub registers: Range<u64>,
    pub line: Line,
}

/// The device tree, checked.
#[derive(Clone, Copy)]
pub struct Tree(Fdt<'static>);

impl Tree {
    /// Checks a device tree.
    pub fn new(bytes: &'static [u8]) -> Result<Self, BadTree> {
        Fdt::new(bytes).map(Self).map_err(|_| BadTree("it is damaged"))
    }

    /// The size that a header claims.
    pub fn size(header: &[u8; 8]) -> Result<u64, BadTree> {
        const LIMIT: u64 = 2 << 20;
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        match (word(0), u64::from(word(4))) {
            (0xD00D_FEED, size @ 8..=LIMIT) => Ok(size),
            (0xD00D_FEED, _) => Err(BadTree("it is larger than 2 MiB")),
            _ => Err(BadTree("there is none at the address the loader gave")),
        }
    }

    /// Where it lies: physical addresses.
    pub fn place(self) -> Range<u64> {
        let bytes = self.0.data();
        let start = bytes.as_ptr().addr() as u64 - LINEAR_BASE;
        start..start + bytes.len() as u64
    }

    /// All RAM.
    pub fn memory(self) -> Result<Ranges, BadTree> {
        let mut ranges = Ranges::new();
        for node in self.0.root().children() {
            if text(&node, "device_type") == Some("memory") {
                extend(&mut ranges, node)?;
            }
        }
        if ranges.is_empty() { Err(BadTree("it has no memory")) } else { Ok(ranges) }
    }

    /// RAM that is not for the kernel: (ranges that may be mapped, ranges that may not).
    pub fn reserved(self) -> Result<(Ranges, Ranges), BadTree> {
        let (mut plain, mut unmapped) = (Ranges::new(), Ranges::new());
        for entry in self.0.memory_reservations() {
            push(&mut plain, entry.address()..entry.address().saturating_add(entry.size()))?;
        }
        for node in self.0.find_node("/reserved-memory").iter().flat_map(Node::children) {
            let list = if node.property("no-map").is_some() { &mut unmapped } else { &mut plain };
            extend(list, node)?;
        }
        Ok((plain, unmapped))
    }

    /// The command line.
    pub fn command_line(self) -> &'static str {
        self.0.find_node("/chosen").and_then(|chosen| text(&chosen, "bootargs")).unwrap_or("")
    }

    /// The initial ramdisk.
    pub fn ramdisk(self) -> Option<Range<u64>> {
        let chosen = self.0.find_node("/chosen")?;
        let range = number(&chosen, "linux,initrd-start")?..number(&chosen, "linux,initrd-end")?;
        (range.start < range.end).then_some(range)
    }

    /// Boot modules, by address: QEMU's loader adds each node before the others.
    pub fn modules(self) -> Result<ArrayVec<BootModule, 16>, BadTree> {
        let mut modules: ArrayVec<BootModule, 16> = ArrayVec::new();
        for node in self.0.find_node("/chosen").iter().flat_map(Node::children) {
            if !node.is_compatible("multiboot,module") {
                continue;
            }
            let bytes = module_place(node).ok_or(BadTree("a boot module has no place in memory"))?;
            let line = text(&node, "bootargs").unwrap_or("");
            modules.try_push(BootModule { bytes, line }).map_err(|_| BadTree("it has more than 16 boot modules"))?;
        }
        modules.sort_unstable_by_key(|module| module.bytes.start);
        Ok(modules)
    }

    /// How to call PSCI.
    pub fn psci(self) -> Result<Conduit, BadTree> {
        let node = self.first(&["arm,psci-1.0", "arm,psci-0.2"]).ok_or(BadTree("it has no PSCI 0.2"))?;
        match text(&node, "method") {
            Some("hvc") => Ok(Conduit::Hvc),
            Some("smc") => Ok(Conduit::Smc),
            _ => Err(BadTree("PSCI has no method")),
        }
    }

    /// The affinity of each CPU that may be used, `boot` first.
    pub fn cpus(self, boot: u64) -> Result<ArrayVec<u64, MAX_CPUS>, BadTree> {
        let mut cpus = ArrayVec::new();
        cpus.push(boot);
        let node = self.0.find_node("/cpus").ok_or(BadTree("it has no CPUs"))?;
        let affinities = node
            .children()
            .filter(|cpu| text(cpu, "device_type") == Some("cpu") && text(cpu, "status").is_none_or(|status| status == "okay"))
            .filter_map(|cpu| number(&cpu, "reg"));
        for affinity in affinities.filter(|&affinity| affinity != boot) {
            if cpus.try_push(affinity).is_err() {
                break;
            }
        }
        Ok(cpus)
    }

    /// The interrupt controller.
    pub fn gic(self) -> Result<Gic, BadTree> {
        const SHORT: BadTree = BadTree("the interrupt controller's reg is too short");
        if let Some(node) = self.first(&["arm,gic-v3"]) {
            let mut regions = registers(node);
            let distributor = regions.next().ok_or(SHORT)?;
            let count = number(&node, "#redistributor-regions").unwrap_or(1) as usize;
            let redistributors: ArrayVec<_, 4> = regions.take(count.min(4)).collect();
            return if redistributors.is_empty() { Err(SHORT) } else { Ok(Gic::V3 { distributor, redistributors }) };
        }
        let node = self.first(&["arm,cortex-a15-gic", "arm,gic-400"]).ok_or(BadTree("it has no GICv2 or GICv3"))?;
        let mut regions = registers(node);
        Ok(Gic::V2 { distributor: regions.next().ok_or(SHORT)?, cpu_interface: regions.next().ok_or(SHORT)? })
    }

    /// Random bytes that the loader put there: seeds for this, whatever they were meant for, all mixed.
    pub fn seed(self) -> Option<[u8; 32]> {
        let chosen = self.0.find_node("/chosen")?;
        let mut seed = [0; 32];
        let mut place = 0;
        for name in ["rng-seed", "kaslr-seed"] {
            let bytes = chosen.property(name).and_then(|property| property.value_as::<&'static [u8]>().ok()).unwrap_or(&[]);
            for byte in bytes {
                seed[place % 32] ^= byte;
                place += 1;
            }
        }
        // Fewer bytes could be tried one after the other.
        (place >= 32).then_some(seed)
    }

    /// The first PL031: the clock.
    pub fn clock(self) -> Option<Range<u64>> {
        registers(self.first(&["arm,pl031"])?).next()
    }

    /// The virtual timer's interrupt.
    pub fn timer(self) -> Result<Line, BadTree> {
        const VIRTUAL: usize = 2;
        let node = self.first(&["arm,armv8-timer"]).ok_or(BadTree("it has no timer"))?;
        lines(&node).nth(VIRTUAL).ok_or(BadTree("the timer has no virtual interrupt"))
    }

    /// The first PL011.
    pub fn console(self) -> Option<Range<u64>> {
        registers(self.first(&["arm,pl011"])?).next()
    }

    /// virtio-mmio slots, by address.
    pub fn virtio_slots(self) -> impl Iterator<Item = Slot> {
        self.buses().into_iter().flat_map(|bus| bus.children()).filter_map(|node| {
            let usable = node.is_compatible("virtio,mmio");
            Some(Slot { registers: registers(node).next().filter(|_| usable)?, line: lines(&node).next()? })
        })
    }

    /// The frame of the interrupt controller that takes messages.
    pub fn message_frame(self) -> Option<MessageFrame> {
        let gic = self.first(&["arm,cortex-a15-gic", "arm,gic-400", "arm,gic-v3"])?;
        let node = gic.children().find(|node| node.is_compatible("arm,gic-v2m-frame"))?;
        let override_of = |name| number(&node, name).map(|value| value as u32);
        Some(MessageFrame {
            registers: registers(node).next()?,
            first: override_of("arm,msi-base-spi"),
            count: override_of("arm,msi-num-spis"),
        })
    }

    /// The interrupt translation service: where its registers are.
    pub fn translation_service(self) -> Option<u64> {
        let gic = self.first(&["arm,gic-v3"])?;
        let node = gic.children().find(|node| node.is_compatible("arm,gic-v3-its"))?;
        Some(registers(node).next()?.start)
    }

    /// The PCI host bridge.
    pub fn pci_host(self) -> Option<FdtNode<'static>> {
        self.first(&["pci-host-ecam-generic"])
    }

    /// The root and the buses under it that translate nothing.
    fn buses(self) -> ArrayVec<FdtNode<'static>, 4> {
        let root = self.0.root();
        let simple = root
            .children()
            .filter(|node| node.is_compatible("simple-bus") && node.property("ranges").is_some_and(|ranges| ranges.value().is_empty()));
        core::iter::once(root).chain(simple).take(4).collect()
    }

    /// The first node that is compatible with one of these.
    fn first(self, compatible: &[&str]) -> Option<FdtNode<'static>> {
        self.buses().into_iter().flat_map(|bus| bus.children()).find(|node| compatible.iter().any(|&name| node.is_compatible(name)))
    }
}

/// A property that is text.
pub fn text(node: &FdtNode<'static>, name: &str) -> Option<&'static str> {
    node.property(name)?.value_as::<&'static str>().ok()
}

/// A property that is a number, of one cell or two.
pub fn number(node: &FdtNode<'static>, name: &str) -> Option<u64> {
    let property = node.property(name)?;
    match property.value().len() {
        4 => property.value_as::<u32>().ok().map(u64::from),
        8 => property.value_as::<u64>().ok(),
        _ => None,
    }
}

/// A property that is cells.
pub fn cells(node: &FdtNode<'static>, name: &str) -> impl Iterator<Item = u32> + use<> {
    let bytes = node.property(name).and_then(|property| property.value_as::<&'static [u8]>().ok()).unwrap_or(&[]);
    bytes.chunks_exact(4).map(|cell| u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]]))
}

/// The reg property; entries that wrap or don't fit are left out.
fn registers(node: FdtNode<'static>) -> impl Iterator<Item = Range<u64>> {
    node.reg().ok().flatten().into_iter().flatten().filter_map(|reg| {
        let start = reg.address::<u64>().ok()?;
        Some(start..start.checked_add(reg.size::<u64>().ok()?)?)
    })
}

/// Where a boot module is: two numbers of two cells. Loaders write them so whether or not /chosen says how many cells there are.
fn module_place(node: FdtNode<'static>) -> Option<Range<u64>> {
    let words: ArrayVec<u32, 5> = cells(&node, "reg").take(5).collect();
    let [start_high, start_low, size_high, size_low] = words[..] else {
        return registers(node).next();
    };
    let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let start = pair(start_high, start_low);
    Some(start..start.checked_add(pair(size_high, size_low))?)
}

/// The interrupts property, of three cells each: kind, number, flags.
fn lines(node: &FdtNode<'static>) -> impl Iterator<Item = Line> + use<> {
    let mut cells = cells(node, "interrupts");
    core::iter::from_fn(move || line([cells.next()?, cells.next()?, cells.next()?]))
}

/// An interrupt specifier of a GIC.
pub fn line([kind, number, flags]: [u32; 3]) -> Option<Line> {
    let first = match kind {
        0 => 32,
        1 => 16,
        _ => return None,
    };
    let edge = flags & 3 != 0;
    (number < 988).then_some(Line { number: first + number, edge })
}

fn extend(ranges: &mut Ranges, node: FdtNode<'static>) -> Result<(), BadTree> {
    registers(node).try_for_each(|range| push(ranges, range))
}

fn push(ranges: &mut Ranges, range: Range<u64>) -> Result<(), BadTree> {
    if range.is_empty() {
        return Ok(());
    }
    ranges.try_push(range).map_err(|_| BadTree("it has more than 16 ranges of memory of one kind"))
}

//! The pager's task: `net-pager device=eth0 ip=10.0.2.15/24 gw=10.0.2.2 server=10.0.2.2:PORT export=NAME`; see `config.rs`.
//!
//! It opens the device, finds the server and its export, wires itself, and only then tells under which name it is found: from that moment
//! it must not wait for memory that it is itself asked to free.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::call::device::{D_READ, D_WRITE};
use abi::call::pvmach_control::{device_ring_kick, device_ring_notify};
use abi::vm::{PAGE_SIZE, Protection};
use net_pager::config::Config;
use net_pager::device::PacketDevice;
use net_pager::ring::{Ring, Shape};
use net_pager::seal::{SealKey, Sealing};
use net_pager::secure::Secure;
use net_pager::stack::Stack;
use net_pager::{Net, Settings, secrets};
use pager::Server;
use runtime::device::Device;
use runtime::{Args, Mapping, SendRight, bootstrap, port, println, rpc, task, time};
use tls::Credentials;

runtime::main!(run);

/// The heap that is made before the first page comes, besides what is in use by then.
const HEAP: usize = 1 << 20;

/// The device's port, for `kick`: there is one device.
static DEVICE: AtomicU32 = AtomicU32::new(0);

/// Tells the kernel that the ring has changed. If it can't be told, the next packet or the next timeout makes up for it.
fn kick(_: &Mapping) {
    let _ = rpc::send(DEVICE.load(Ordering::Relaxed), &device_ring_kick::Request {});
}

fn run(args: Args) -> Result<(), String> {
    let failed = |what: &str, why: &dyn Display| format!("{}: {what}: {why}", args.program());
    let config = Config::parse(&args).map_err(|why| failed("arguments", &why))?;
    let ports = bootstrap::ports().map_err(|code| failed("the privileged ports", &code))?;
    let device = Device::open(&ports.device, &config.device, D_READ | D_WRITE).map_err(|code| failed(&config.device, &code))?;
    DEVICE.store(device.port().name(), Ordering::Relaxed);
    let ring = map_ring(&device).map_err(|why| failed("the packet ring", &why))?;
    let shape = ring.shape();
    let now_ns = time::now_ns();
    let secrets = secrets(&ports.device, &config).map_err(|why| failed("secrets", &why))?;
    let seed =
        u64::from_le_bytes(random().unwrap_or_else(|| (now_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mac_number(shape.mac)).to_le_bytes()));
    let stack = Stack::new(PacketDevice::new(ring), config.addresses, config.connections, seed, now_ns, kick);
    let stack = Secure::new(stack, secrets.credentials);
    let settings = Settings {
        export: config.export.clone(),
        requires_tls: config.tls.is_some(),
        seal: secrets.seal,
        boot_id: random().unwrap_or_else(|| boot_id(seed, now_ns)),
        takes_foreign: config.takes_foreign,
        deadline_ms: config.deadline_ms,
    };
    let net = Net::new(stack, &settings).ok_or_else(|| failed("the export's name", &"it is too long"))?;
    let mut server = Server::new(net).map_err(|code| failed("ports", &code))?;
    let news = port::allocate().map_err(|code| failed("ports", &code))?;
    server.watch(&news).map_err(|code| failed("ports", &code))?;
    let notify = device_ring_notify::Request { notify: news.send_port() };
    device.port().call(&notify).map_err(|code| failed("the packet ring", &code))?;
    attach(&mut server).map_err(|why| failed("the server", &why))?;
    // What is given back stays with the heap. Nobody must think it away for being unused.
    drop(core::hint::black_box(Vec::<u8>::with_capacity(HEAP)));
    task::wire_all(&ports.host).map_err(|code| failed("wiring", &code))?;
    let addresses = config.addresses;
    let tls = if config.tls.is_some() { ", TLS" } else { "" };
    let seal = if config.sealing == Sealing::Off { "" } else { ", sealed pages" };
    println!("{}: {} on {}, {}:{}{tls}{seal}", args.program(), config.device, addresses.own, addresses.server, addresses.port);
    let name = args.value("name").unwrap_or(args.program());
    server.register(name).map_err(|code| failed("registering", &code))?;
    server.run().map_err(|code| failed("serving", &code))
}

/// Maps the control page to see how large the ring is, then all of it.
fn map_ring(device: &Device) -> Result<Ring<Mapping>, String> {
    let map = |bytes| -> Result<Mapping, abi::Code> {
        let memory = device.memory(bytes, Protection::DEFAULT)?;
        Mapping::map(memory.copy(), 0, bytes, Protection::DEFAULT)
    };
    let first = map(PAGE_SIZE).map_err(|code| format!("{code}"))?;
    let shape = Shape::read(&first)?;
    let whole = map(shape.bytes()).map_err(|code| format!("{} slots: {code}", shape.rx_slots + shape.tx_slots))?;
    Ok(Ring::new(whole, shape))
}

/// Serves until the export was found to be ours. An export that can't be used is an error at once; a server that isn't there yet is waited for.
fn attach(server: &mut Server<Net<Secure<Stack<Mapping>>>>) -> Result<(), String> {
    while !server.pager().is_attached() {
        server.step(None).map_err(|code| format!("{code}"))?;
        if let Some(why) = server.pager().refusal() {
            return Err(why);
        }
    }
    Ok(())
}

/// What is kept from others.
struct Secrets {
    credentials: Option<Credentials>,
    seal: Option<(SealKey, bool)>,
}

/// Gets randomness, and from it and the ramdisk what was asked for.
fn secrets(master: &SendRight, config: &Config) -> Result<Secrets, String> {
    let seeded = secrets::seed(master);
    if config.tls.is_some() || config.sealing != Sealing::Off {
        seeded.map_err(|code| format!("device `random`: {code}; without randomness nothing can be kept secret"))?;
    }
    let credentials = match &config.tls {
        None => None,
        Some(words) => {
            secrets::set_clock(master, config.clock)?;
            Some(secrets::credentials(master, words, &format!("{}", config.addresses.server))?)
        }
    };
    let seal = match config.sealing {
        Sealing::Off => None,
        sealing => Some((SealKey(random().ok_or("the generator fails")?), sealing == Sealing::Full)),
    };
    Ok(Secrets { credentials, seal })
}

/// Random bytes, if this machine has any.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    tls::random::fill(&mut bytes).ok().map(|()| bytes)
}

fn mac_number(mac: [u8; 6]) -> u64 {
    mac.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What tells this boot from others, as well as can be told.
fn boot_id(seed: u64, now_ns: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seed.to_le_bytes());
    id[8..].copy_from_slice(&time::now_ns().wrapping_mul(now_ns | 1).to_le_bytes());
    id
}

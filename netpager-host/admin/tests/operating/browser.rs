//! The status page in a real browser.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use admin::{Observed as _, Registry};
use serde_json::json;

use crate::fake::{Fake, HOSTILE, Traffic};
use crate::service::Service;
use crate::webdriver::Browser;

const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';
const LEFT: char = '\u{e012}';
const RIGHT: char = '\u{e014}';

/// Clients that go on until dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn start(registry: &Arc<Registry>, fake: &Arc<Fake>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut traffic, fake, stopped) = (Traffic::connect(registry), fake.clone(), stop.clone());
        fake.set_clients(traffic.ids());
        let work = move || {
            for tenth in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                traffic.turn();
                fake.take_disconnected().into_iter().for_each(|id| traffic.drop_client(id));
                if tenth.is_multiple_of(10) {
                    fake.advance(tenth / 10);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        Self { stop, thread: Some(std::thread::spawn(work)) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How many columns of pixels of the throughput chart have something of the colour of reads.
fn columns(browser: &Browser) -> u64 {
    let script = "const canvas = document.querySelector('.charts canvas');
         const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
         const columns = new Set();
         for (let at = 0; at < data.length; at += 4) {
           if (data[at + 3] > 200 && data[at] < 40 && data[at + 1] > 90 && data[at + 2] > 150) columns.add((at / 4) % canvas.width);
         }
         return columns.size;";
    browser.run(script).as_u64().unwrap()
}

/// How many pixels of a chart are not of its ground.
fn ink(browser: &Browser, canvas: &str) -> u64 {
    let script = format!(
        "const canvas = document.querySelector({});
         const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
         let ink = 0;
         for (let at = 3; at < data.length; at += 4) if (data[at] > 0) ink += 1;
         return ink;",
        json!(canvas)
    );
    browser.run(&script).as_u64().unwrap()
}

fn select(browser: &Browser, name: &str) {
    browser.run(&format!("document.querySelector('.row[title=' + CSS.escape({}) + ']')?.click()", json!(name)));
    let script = format!("[...document.querySelectorAll('.row')].find((row) => row.title === {}).click()", json!(name));
    browser.run(&script);
    browser.wait(&format!("document.querySelector('.head .title').textContent === {}", json!(name)));
}

#[test]
fn the_page_shows_what_happens() {
    let fake = Fake::furnished();
    let service = Service::start(fake.clone(), None);
    let busy = Busy::start(&service.registry, &fake);
    let browser = Browser::start(1440, 1000);
    browser.open(&service.address.to_string());
    browser.wait("document.body.dataset.link === 'live'");
    assert_eq!(browser.run("return document.querySelectorAll('#exports .row').length"), json!(7));
    browser.wait("document.querySelectorAll('.clients tbody tr').length === 5");

    // Charts move while there is traffic.
    select(&browser, "np1/lab/guest-1");
    browser.wait("document.querySelector('.charts .legend b').textContent !== '0 B/s'");
    browser.wait("document.querySelector('.map .said').textContent.includes('cells of')");
    let before = columns(&browser);
    std::thread::sleep(Duration::from_secs(5));
    let after = columns(&browser);
    assert!(before > 0 && after >= before + 3, "the line gets longer by a column a second: {before}, then {after}");
    assert!(ink(&browser, ".map canvas") > 1000);
    browser.picture("export-light");

    // And no longer when it ends.
    drop(busy);
    browser.wait("document.querySelector('.charts .legend b').textContent === '0 B/s'");
    browser.wait("document.querySelector('.clients .empty').textContent === 'Nobody is connected.'");

    select(&browser, "np1/lab/shared");
    browser.wait("document.querySelectorAll('.health').length >= 3");
    assert_eq!(browser.text(".health.unreachable"), "unreachable");
    browser.run("document.getElementById('theme').click(); document.getElementById('theme').click()");
    browser.wait("document.documentElement.dataset.theme === 'dark'");
    browser.picture("mirror-dark");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_hostile_name_is_only_a_name() {
    let fake = Fake::furnished();
    let service = Service::start(fake.clone(), None);
    let _busy = Busy::start(&service.registry, &fake);
    let browser = Browser::start(1280, 900);
    browser.open(&service.address.to_string());
    browser.wait("document.body.dataset.link === 'live'");
    select(&browser, HOSTILE);
    browser.wait("document.querySelector('.map .said').textContent.includes('cells of')");
    assert_eq!(browser.text(".head .title"), HOSTILE);
    // Its dialogs and its row, too; and it survives a reload, in the address.
    browser.run("document.getElementById('remove').click()");
    browser.wait("document.querySelector('dialog h2').textContent.startsWith('Remove')");
    browser.press(&[ESCAPE]);
    browser.wait("!document.querySelector('dialog')");
    browser.run("location.reload()");
    browser.wait("document.body.dataset.link === 'live' && document.querySelector('.head .title')");
    assert_eq!(browser.text(".head .title"), HOSTILE);
    assert_eq!(browser.run("return window.hacked ?? null"), json!(null));
    assert_eq!(browser.run("return document.querySelectorAll('img[src=x]').length"), json!(0));
    // The policy would have stopped what the escaping let through.
    browser.run("const script = document.createElement('script'); script.textContent = 'window.hacked = 2'; document.body.append(script)");
    assert_eq!(browser.run("return window.hacked ?? null"), json!(null));
    let complaints = browser.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("Content Security Policy"), "{complaints:?}");
}

#[test]
fn a_lost_service_is_said_and_found_again() {
    let fake = Fake::furnished();
    let mut service = Service::start(fake.clone(), None);
    let browser = Browser::start(1280, 900);
    browser.open(&service.address.to_string());
    browser.wait("document.body.dataset.link === 'live'");
    let height = browser.run("return document.documentElement.scrollHeight");
    let address = service.address.clone();
    service.stop();
    browser.wait("document.body.dataset.link === 'lost' && !document.getElementById('lost').hidden");
    assert!(browser.text("#lost").contains("What you see is from"));
    assert_eq!(browser.run("return document.documentElement.scrollHeight"), height, "nothing jumps");
    browser.picture("lost");
    fake.set_not_ready(Some("starting"));
    let _again = Service::start_at(address, fake.clone(), None);
    browser.wait("document.body.dataset.link === 'unready' && document.getElementById('lost').hidden");
    fake.set_not_ready(None);
    browser.wait("document.body.dataset.link === 'live'");
    // While nobody answers, the browser itself says so in the console, and nobody else does.
    let ours: Vec<String> = browser.complaints().into_iter().filter(|line| !line.contains("net::ERR")).collect();
    assert_eq!(ours, Vec::<String>::new());
}

#[test]
fn everything_can_be_done_with_the_keyboard() {
    let fake = Fake::empty();
    let service = Service::start(fake.clone(), None);
    let browser = Browser::start(1280, 900);
    browser.open(&service.address.to_string());
    browser.wait("document.querySelector('.empty.large')");
    assert!(browser.text(".empty.large").contains("netpager-host export create"));
    browser.picture("empty");
    browser.run("document.getElementById('new-export').focus()");
    browser.press(&[ENTER]);
    browser.wait("document.activeElement.id === 'new-name'");
    browser.press(&['a', '/', 'b', TAB, '4', 'x', ENTER]);
    browser.wait("document.querySelector('dialog .wrong').textContent.includes('256M')");
    browser.picture("dialog");
    browser.run("const size = document.getElementById('new-size'); size.focus(); size.value = '4'");
    browser.press(&['M', ENTER]);
    browser.wait("document.querySelector('.head .title')?.textContent === 'a/b'");
    assert_eq!(fake.exports()[0].size, 4 << 20);
    // Tab reaches the charts and the map; arrows look into them.
    browser.wait("document.querySelector('.map .said').textContent.includes('cells of')");
    browser.run("document.querySelector('.charts canvas').focus()");
    browser.press(&[LEFT, LEFT]);
    browser.wait("!document.querySelector('.charts .tip').hidden");
    browser.run("document.querySelector('.map canvas').focus()");
    browser.press(&[RIGHT, RIGHT]);
    browser.wait("/ to .*: nothing kept/.test(document.querySelector('.map .said').textContent)");
    browser.run("document.getElementById('check').focus()");
    browser.press(&[ENTER]);
    browser.wait("document.querySelector('.head [role=status]').textContent.includes('Check of a/b: 0 %')");
    browser.run("document.getElementById('remove').focus()");
    browser.press(&[ENTER]);
    browser.wait("document.querySelector('dialog')");
    browser.run("document.querySelector('dialog button.main').focus()");
    browser.press(&[ENTER]);
    browser.wait("document.querySelector('.empty.large')");
    assert!(fake.exports().is_empty());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_fits_a_telephone() {
    let fake = Fake::furnished();
    let service = Service::start(fake.clone(), None);
    let _busy = Busy::start(&service.registry, &fake);
    let browser = Browser::start(500, 900);
    browser.open(&format!("{}#export=disk", service.address));
    browser.wait("document.body.dataset.link === 'live' && document.querySelector('.map .said').textContent.includes('cells of')");
    for width in [500, 760, 1000, 1600] {
        browser.resize(width, 900);
        browser.wait("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
    }
    browser.resize(500, 1100);
    std::thread::sleep(Duration::from_secs(2));
    browser.picture("narrow");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_token_is_asked_for_and_remembered() {
    let service = Service::start(Fake::furnished(), Some("0123456789abcdef"));
    let browser = Browser::start(1280, 900);
    browser.open(&service.address.to_string());
    browser.wait("document.activeElement.id === 'token'");
    browser.press(&['n', 'o', ENTER]);
    browser.wait("document.querySelector('dialog .wrong').textContent === 'that is not the token'");
    browser.run("document.getElementById('token').value = '0123456789abcde'; document.getElementById('token').focus()");
    browser.press(&['f', ENTER]);
    browser.wait("document.body.dataset.link === 'live' && !document.querySelector('dialog')");
    browser.run("location.reload()");
    browser.wait("document.body.dataset.link === 'live' && !document.querySelector('dialog')");
}

//! As much of the WebDriver protocol as it takes to drive one browser: Debian's chromium through its chromedriver.

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

const PACKAGES: &str = "the status page is tested in a real browser; please run: apt-get install chromium chromium-driver";
/// Flags without which Chromium does not start as root, or asks the internet for things while nobody watches.
const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
];
/// How long anything on the page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser is as much as two processors can carry.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A browser with one window. Closed, and its profile removed, when dropped.
pub(crate) struct Browser {
    _turn: MutexGuard<'static, ()>,
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is missing: {PACKAGES}"))
}

impl Browser {
    /// Starts one with a window of this size.
    pub(crate) fn start(width: u32, height: u32) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let chromium = program("chromium");
        let mut command = Command::new(program("chromedriver"));
        // A process group for the driver, the browser and all its helpers, to be ended together.
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut driver = command.spawn().expect(PACKAGES);
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let said = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
        // Somebody has to read what it says, or it will wait for that.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut browser =
            Self { _turn: turn, driver, port: said.expect("chromedriver says its port"), session: String::new(), _profile: profile };
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
        flags.push(format!("--window-size={width},{height}"));
        flags.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let options = json!({ "binary": chromium, "args": flags });
        let always = json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let started = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": always } }));
        browser.session = started["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let (head, body) = answer(&mut BufReader::new(stream));
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert!(head.contains(" 200 "), "{method} {path}: {}", body["value"]["message"]);
        body["value"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("/session/{}{path}", self.session), body)
    }

    /// Opens a page.
    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs a function's body in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({expression})")) != json!(true) {
            assert!(Instant::now() < deadline, "still false: {expression}\n{}", self.run("return document.body.innerText"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The text of the first element a selector finds.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Presses keys in the focused element.
    pub(crate) fn press(&self, keys: &[char]) {
        let actions: Vec<Value> =
            keys.iter().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))).collect();
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// Makes the window another size.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        self.post("/window/rect", &json!({ "width": width, "height": height }));
    }

    /// What the console was told since the last call, but for hints about our own looking at the pixels.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .filter(|line| line["level"] == "SEVERE" || line["source"] != "rendering")
            .map(|line| line["message"].to_string())
            .collect()
    }

    /// Keeps a picture of the window in the folder that `NETPAGER_SCREENSHOTS` names, for a person to look at.
    pub(crate) fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("NETPAGER_SCREENSHOTS") else { return };
        let picture = self.call("GET", &format!("/session/{}/screenshot", self.session), &Value::Null);
        let path = PathBuf::from(folder).join(format!("{name}.png"));
        std::fs::write(path, base64(picture.as_str().unwrap_or_default())).unwrap();
    }
}

/// Head and body of an answer. The driver leaves the connection open, whatever it is asked to do.
fn answer(stream: &mut impl BufRead) -> (String, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "chromedriver ended");
    }
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte| DIGITS.iter().position(|&digit| digit == byte).map(|value| value as u32);
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for value in text.bytes().filter_map(digit) {
        bits = bits << 6 | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Also when a test has failed: the driver's end alone would leave the browser running.
        let _ = kill_process_group(Pid::from_child(&self.driver), Signal::KILL);
        let _ = self.driver.wait();
    }
}

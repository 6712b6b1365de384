//! The admin listener over real sockets: the API does what its description says, and only for those who may ask.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use crate::described::Description;
use crate::fake::{Fake, HOSTILE, Traffic};
use crate::service::Service;
use admin::client::AdminClient;
use admin::observed::ExportState;
use admin::{AdminAddress, Sampler};

fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_answer_is_as_described() {
    let fake = Fake::furnished();
    let service = Service::start(fake.clone(), None);
    let description = Description::parse(&service.get("/api/v1/openapi.json").body);
    let mut traffic = Traffic::connect(&service.registry);
    fake.set_clients(traffic.ids());
    traffic.turn();
    // The first sample was taken before there was any traffic.
    let deadline = Instant::now() + Duration::from_secs(10);
    while service.get("/api/v1/status").json()["clients_total"] != 5 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    let hostile = encoded(HOSTILE);
    let asked = [
        ("get", "/api/v1/status", String::new(), 200),
        ("get", "/api/v1/history", String::new(), 200),
        ("get", "/api/v1/history", format!("?name={hostile}"), 200),
        ("get", "/api/v1/history", "?name=none".into(), 404),
        ("get", "/api/v1/exports", String::new(), 200),
        ("get", "/api/v1/export", format!("?name={hostile}"), 200),
        ("get", "/api/v1/export", "?name=".into(), 404),
        ("get", "/api/v1/export", String::new(), 400),
        ("get", "/api/v1/export/map", "?name=disk&cells=77".into(), 200),
        ("get", "/api/v1/export/map", "?name=disk&cells=0".into(), 400),
        ("get", "/api/v1/export/map", "?name=disk&cells=4097".into(), 400),
        ("get", "/api/v1/export/map", "?name=disk&colour=red".into(), 400),
        ("post", "/api/v1/export/check", "?name=disk".into(), 202),
        ("get", "/api/v1/job", "?id=1".into(), 200),
        ("delete", "/api/v1/job", "?id=1".into(), 204),
        ("get", "/api/v1/job", "?id=99".into(), 404),
        ("delete", "/api/v1/client", "?id=1".into(), 204),
        ("delete", "/api/v1/client", "?id=1".into(), 404),
        ("delete", "/api/v1/client", "?id=x".into(), 400),
        ("delete", "/api/v1/export", "?name=disk".into(), 409),
        ("delete", "/api/v1/export", "?name=disk&force=true".into(), 204),
        ("delete", "/api/v1/export", "?name=disk&force=true".into(), 404),
    ];
    for (method, path, query, status) in asked {
        let answer = service.raw(&method.to_uppercase(), &format!("{path}{query}"), &[("host", "localhost")], "");
        assert_eq!(answer.status, status, "{method} {path}{query}: {answer:?}");
        description.check(method, path, &answer);
    }
    assert_eq!(fake.take_disconnected(), [1]);
}

#[test]
fn exports_are_made_or_refused_in_words() {
    let service = Service::start(Fake::empty(), None);
    let description = Description::parse(&service.get("/api/v1/openapi.json").body);
    let asked = [
        (r#"{"name": "a/b", "size": 4096, "quota": 1, "lifetime": {"until": "idle", "idle_seconds": 5}}"#, 201, "a/b"),
        (r#"{"name": "a/b", "size": 4096}"#, 409, "there is an export `a/b` already"),
        (r#"{"name": "", "size": 1125899906842625}"#, 507, "nobody has that much"),
        (r#"{"name": "c", "size": 0}"#, 400, "size: expected"),
        (r#"{"name": "c", "size": 9223372036854775808}"#, 400, "size: expected"),
        (r#"{"name": "c", "size": 1, "colour": "red"}"#, 400, "colour"),
        ("{", 400, "JSON"),
    ];
    for (body, status, word) in asked {
        let answer = service.post("/api/v1/exports", body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.body.contains(word), "{body}: {answer:?}");
        description.check("post", "/api/v1/exports", &answer);
    }
    let untyped = service.raw("POST", "/api/v1/exports", &[("host", "localhost")], "{}");
    assert_eq!(untyped.status, 400, "a form of another site could send this: {untyped:?}");
    let large = service.post("/api/v1/exports", &"x".repeat(3 << 20));
    assert_eq!(large.status, 400, "{large:?}");
}

#[test]
fn foreign_pages_are_refused_everywhere() {
    let service = Service::start(Fake::furnished(), None);
    for path in ["/", "/metrics", "/healthz", "/api/v1/status", "/page/app.js", "/nowhere"] {
        assert_eq!(service.raw("GET", path, &[("host", "evil.example")], "").status, 403, "{path}");
        assert_eq!(service.raw("GET", path, &[("host", "localhost"), ("origin", "http://evil.example")], "").status, 403, "{path}");
        let answer = service.get(path);
        assert_eq!(answer.status == 404, path == "/nowhere", "{path}");
        for header in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "cache-control: no-store"] {
            assert!(answer.head.contains(header), "{path}: {}", answer.head);
        }
        assert!(!answer.head.contains("access-control-allow"));
    }
    assert_eq!(service.raw("PUT", "/api/v1/status", &[("host", "localhost")], "").status, 405);
}

#[test]
fn without_the_token_nothing_is_told() {
    let service = Service::start(Fake::furnished(), Some("0123456789abcdef"));
    for path in ["/metrics", "/api/v1/status", "/api/v1/events", "/api/v1/openapi.json"] {
        assert_eq!(service.get(path).status, 401, "{path}");
        let wrong = [("host", "localhost"), ("authorization", "Bearer 0123456789abcdeX")];
        assert_eq!(service.raw("GET", path, &wrong, "").status, 401, "{path}");
    }
    for path in ["/", "/page/app.js", "/healthz", "/readyz"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    let right = [("host", "localhost"), ("authorization", "Bearer 0123456789abcdef")];
    assert_eq!(service.raw("GET", "/api/v1/status", &right, "").status, 200);
    let token = admin::Token::new("0123456789abcdef");
    let client = AdminClient::new(service.address.clone(), token).unwrap();
    assert_eq!(client.get::<Vec<ExportState>>("/exports", &[]).unwrap().len(), 6);
}

#[test]
fn readiness_says_why_not() {
    let fake = Fake::empty();
    let service = Service::start(fake.clone(), None);
    assert_eq!(service.get("/readyz").status, 200);
    fake.set_not_ready(Some("the upstream is away"));
    let answer = service.get("/readyz");
    assert_eq!((answer.status, answer.body.trim()), (503, "not ready: the upstream is away"));
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_unix_socket_is_for_its_owner_and_replaces_a_dead_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut service = Service::start_at(AdminAddress::Unix(path.clone()), Fake::furnished(), None);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let client = AdminClient::new(service.address.clone(), None).unwrap();
    assert_eq!(client.get::<Vec<ExportState>>("/exports", &[]).unwrap().len(), 6);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = admin::AdminConfig { address: service.address.clone(), token: None, host_names: Vec::new() };
    let second = runtime.block_on(admin::AdminListener::bind(config)).unwrap_err();
    assert!(second.to_string().contains("in use"), "{second}");
    service.stop();
    assert!(!path.exists());
}

#[test]
fn other_machines_need_a_token() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = admin::AdminConfig { address: "0.0.0.0:0".parse().unwrap(), token: None, host_names: Vec::new() };
    let refused = runtime.block_on(admin::AdminListener::bind(config)).unwrap_err();
    assert!(refused.to_string().contains("token"), "{refused}");
}

#[test]
fn samples_arrive_once_a_second_and_the_end_does_not_wait_for_listeners() {
    let mut service = Service::start(Fake::furnished(), None);
    let mut stream = TcpStream::connect(service.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let (mut text, mut part) = (String::new(), [0; 65536]);
    while text.matches("event: sample").count() < 3 {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0);
        text.push_str(&String::from_utf8_lossy(&part[..count]));
    }
    let started = Instant::now();
    service.stop();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn who_sends_no_request_is_let_go_and_others_are_answered_meanwhile() {
    let service = Service::start(Fake::furnished(), None);
    let mut slow: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(service.socket()).unwrap()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET / HT").unwrap());
    assert_eq!(service.get("/healthz").status, 200);
    let mut first = slow.swap_remove(0);
    first.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[test]
fn ten_thousand_idle_clients_are_sampled_in_no_time() {
    let registry = std::sync::Arc::new(admin::Registry::default());
    let _recorders: Vec<_> = (0..10_000).map(|number| registry.connect(client(number))).collect();
    let sampler = Sampler::new(registry, Fake::furnished());
    let started = Instant::now();
    sampler.take();
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!((sampler.latest().clients_total, sampler.latest().clients.len()), (10_000, 64));
}

fn client(number: u32) -> admin::ClientInfo {
    admin::ClientInfo { export: "disk".into(), peer: format!("10.0.0.1:{number}"), ..admin::ClientInfo::default() }
}

//! The web configuration: its mistakes by message, and what it does to connections and requests
//! over real sockets, with certificates made for each test.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envoy_exporter::web::{ListenAddress, LiveConfig, healthcheck};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::client::Client;
use crate::support::exporter::{Exporter, PATIENCE, eventually, options};
use crate::support::testdata;
use crate::support::tls::{
    Authority, Folder, Pair, Speech, certificates, copied, self_signed, server_name,
};

/// The section that each test of TLS starts with.
const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

/// The files of `testdata/web` with this end.
fn files(end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(testdata("web")).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.display().to_string().ends_with(end))
        .collect();
    files.sort();
    files
}

/// What is said of each file; `UPDATE_GOLDEN=1` writes it.
fn compare(expected: &str, got: &str) {
    let expected = testdata("web").join(expected);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, got).unwrap();
    }
    assert_eq!(got, fs::read_to_string(&expected).unwrap_or_default());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let folder = Folder::new();
    certificates(&folder);
    let files = files(".bad.yaml");
    assert!(files.len() >= 30, "{} files", files.len());
    let mut got = String::new();
    for file in files {
        let path = copied(&folder, &file);
        let error = LiveConfig::open(&path).expect_err(&file.display().to_string());
        let error = error.to_string();
        for secret in ["MC4CAQ", "doe", "$2", "TuEjdwNS"] {
            assert!(!error.contains(secret), "a secret is shown: {error}");
        }
        let error = error.replace(&format!("{}/", folder.0.display()), "");
        writeln!(got, "{error}\n").unwrap();
    }
    compare("messages.txt", &got);
}

#[test]
fn what_is_valid_is_taken_and_what_is_odd_is_a_warning() {
    let folder = Folder::new();
    certificates(&folder);
    let files = files(".good.yaml");
    assert!(files.len() >= 25, "{} files", files.len());
    let mut got = String::new();
    for file in files {
        let path = copied(&folder, &file);
        let name = file.file_name().unwrap().display();
        let live = LiveConfig::open(&path).unwrap_or_else(|error| panic!("{error}"));
        writeln!(
            got,
            "{name}: {}",
            if live.is_tls() { "TLS" } else { "plain" }
        )
        .unwrap();
        for warning in live.warnings() {
            let warning = warning.replace(&format!("{}/", folder.0.display()), "");
            writeln!(got, "  {warning}").unwrap();
        }
    }
    compare("warnings.txt", &got);
    let error = LiveConfig::open(&folder.0.join("none.yaml")).unwrap_err();
    assert!(
        error.to_string().contains("none.yaml: No such file"),
        "{error}"
    );
}

/// The web layer under a web configuration.
struct Secured {
    folder: Folder,
    authority: Authority,
    exporter: Exporter,
}

impl Secured {
    async fn start(config: &str) -> Self {
        let folder = Folder::new();
        let authority = certificates(&folder);
        let path = folder.write("web.yaml", config);
        let mut options = options();
        let live = LiveConfig::open(&path).unwrap_or_else(|error| panic!("{error}"));
        options.web_config = Arc::new(live);
        let exporter = Exporter::start(options).await;
        Self {
            folder,
            authority,
            exporter,
        }
    }

    fn config(&self, speech: &Speech) -> Arc<ClientConfig> {
        speech.config(&self.authority.pem)
    }

    /// What a request by TLS gets: the status, or why there is none.
    async fn ask(&self, speech: &Speech, headers: &str) -> Result<u16, String> {
        let asked = self.try_ask(speech, headers);
        let asked = tokio::time::timeout(PATIENCE, asked)
            .await
            .expect("an answer");
        asked.map_err(|error| error.to_string())
    }

    async fn try_ask(&self, speech: &Speech, headers: &str) -> io::Result<u16> {
        let stream = TcpStream::connect(&self.exporter.addresses[0]).await?;
        let connector = TlsConnector::from(self.config(speech));
        let mut stream = connector.connect(server_name(), stream).await?;
        let head =
            format!("GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8(answer).unwrap();
        Ok(answer.split(' ').nth(1).expect(&answer).parse().unwrap())
    }

    /// The status of a request in clear text.
    async fn plain(&self, headers: &str) -> u16 {
        let mut client = self.exporter.connect().await;
        let head = format!("GET /-/healthy HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        client.send(head).await;
        client.answer("GET").await.status
    }
}

fn basic(name: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{name}:{password}"));
    format!("authorization: Basic {encoded}\r\n")
}

fn shows(pair: &Pair) -> Speech {
    Speech {
        shows: Some(pair.clone()),
        ..Speech::default()
    }
}

fn speaks(version: &'static rustls::SupportedProtocolVersion) -> Speech {
    Speech {
        version: Some(version),
        ..Speech::default()
    }
}

#[tokio::test]
async fn scrapes_by_tls() {
    let secured = Secured::start(TLS).await;
    for (what, speech) in [
        ("both versions", Speech::default()),
        ("1.2", speaks(&TLS12)),
        ("1.3", speaks(&TLS13)),
        (
            "as Prometheus offers",
            Speech {
                protocols: vec!["h2", "http/1.1"],
                ..Speech::default()
            },
        ),
    ] {
        assert_eq!(secured.ask(&speech, "").await, Ok(200), "{what}");
    }
    let address = &secured.exporter.addresses[0];
    let config = secured.config(&Speech::default());
    let mut client = Client::try_connect_tls(address, config).await.unwrap();
    for _ in 0..2 {
        client
            .get("/metrics?name[]=a")
            .await
            .check("a scrape", 200, "a|\n");
    }
    let answer = client.get("/metrics?name[]=big").await;
    assert!(
        answer.whole && answer.body.len() == 64 << 20,
        "{}",
        answer.body.len()
    );
}

#[tokio::test]
async fn what_is_no_tls_gets_no_answer_of_the_exporter() {
    let mut secured = Secured::start(TLS).await;
    let mut client = secured.exporter.connect().await;
    client
        .get("/metrics")
        .await
        .check("HTTP", 400, "this port speaks only https.\n");
    assert_eq!(client.closed().await, b"");
    for bytes in [
        &b"\x16\x03\x01\x00\x01\x00"[..],
        b"\x00\x01\x02\x03\x04\x05",
        b"\xff\xff",
    ] {
        let mut client = secured.exporter.connect().await;
        client.send(bytes).await;
        client.send([0; 64]).await;
        let said = client.closed().await;
        assert!(said.len() < 10, "an alert at most: {said:?}");
    }
    assert_eq!(secured.exporter.backend.begun(), 0);
    // One that says nothing does not hold up the end.
    let _silent = secured.exporter.connect().await;
    let mut halfway = secured.exporter.connect().await;
    halfway.send(b"\x16\x03\x01").await;
    secured.exporter.stop();
    assert!(secured.exporter.stopped().await < Duration::from_secs(5));
}

#[tokio::test]
async fn versions() {
    for (lines, old, new) in [
        ("", true, true),
        ("  max_version: TLS12\n", true, false),
        ("  min_version: TLS13\n", false, true),
        (
            "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n",
            false,
            true,
        ),
        (
            "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n",
            false,
            true,
        ),
        (
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
            true,
            true,
        ),
        ("  curve_preferences: [CurveP384]\n", true, true),
    ] {
        let secured = Secured::start(&format!("{TLS}{lines}")).await;
        for (version, want) in [(&TLS12, old), (&TLS13, new)] {
            let asked = secured.ask(&speaks(version), "").await;
            assert_eq!(asked.is_ok(), want, "{lines}{version:?}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn certificates_of_clients() {
    let any = self_signed(&["one.example"], false, false);
    for (policy, nothing, own, strange) in [
        ("NoClientCert", true, true, true),
        ("RequestClientCert", true, true, true),
        ("RequireAnyClientCert", false, true, true),
        ("VerifyClientCertIfGiven", true, true, false),
        ("RequireAndVerifyClientCert", false, true, false),
    ] {
        let authority = if policy == "NoClientCert" {
            ""
        } else {
            "  client_ca_file: ca.pem\n"
        };
        let config = format!("{TLS}  client_auth_type: {policy}\n{authority}");
        let secured = Secured::start(&config).await;
        let signed = secured.authority.sign(&["one.example"]);
        for (what, speech, want) in [
            ("nothing", Speech::default(), nothing),
            ("own", shows(&signed), own),
            ("strange", shows(&any), strange),
        ] {
            for version in [&TLS12, &TLS13] {
                let speech = Speech {
                    version: Some(version),
                    ..speech.clone()
                };
                let asked = secured.ask(&speech, "").await;
                assert_eq!(
                    asked.is_ok(),
                    want,
                    "{policy}, {what}, {version:?}: {asked:?}"
                );
                if what == "nothing" && !want {
                    let error = asked.unwrap_err();
                    assert!(error.contains("CertificateRequired"), "{policy}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority() {
    for (is_authority, is_expired, want) in [
        (true, false, true),
        (false, false, true),
        (true, true, false),
        (false, true, false),
    ] {
        let own = self_signed(&["one.example"], is_authority, is_expired);
        let config = format!(
            "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n    {}\n",
            own.certificate.trim().replace('\n', "\n    "),
        );
        let secured = Secured::start(&config).await;
        let asked = secured.ask(&shows(&own), "").await;
        assert_eq!(
            asked.is_ok(),
            want,
            "{is_authority} {is_expired}: {asked:?}"
        );
        let other = self_signed(&["one.example"], is_authority, false);
        assert!(secured.ask(&shows(&other), "").await.is_err());
    }
}

#[tokio::test]
async fn names_of_clients() {
    let config = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  \
         client_allowed_sans: [one.example, 10.1.2.3, '2001:db8::1', 'spiffe://mesh/one', a@b.example]\n"
    );
    let secured = Secured::start(&config).await;
    for (names, want) in [
        (&["one.example"][..], true),
        (&["zero.example", "one.example"], true),
        (&["ip=10.1.2.3"], true),
        (&["ip=2001:db8::1"], true),
        (&["uri=spiffe://mesh/one"], true),
        (&["mail=a@b.example"], true),
        (&["a.one.example"], false),
        (&["*.example"], false),
        (&["ip=10.1.2.4"], false),
        (&["uri=spiffe://mesh/one/two"], false),
        (&[], false),
    ] {
        let asked = secured
            .ask(&shows(&secured.authority.sign(names)), "")
            .await;
        assert_eq!(asked.is_ok(), want, "{names:?}: {asked:?}");
    }
    let asked = secured.ask(&Speech::default(), "").await;
    assert!(asked.is_err(), "none: {asked:?}");
}

/// `pencil`.
fn users() -> String {
    let hash = bcrypt::hash("pencil", 4).unwrap();
    format!("basic_auth_users:\n  amy: {hash}\n")
}

#[tokio::test]
async fn users_and_passwords() {
    let secured = Secured::start(&users()).await;
    for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/nothing"] {
        let answer = secured.exporter.connect().await.get(path).await;
        answer.check(path, 401, "unauthorized\n");
        assert_eq!(answer.headers["www-authenticate"], "Basic", "{path}");
    }
    for (headers, want) in [
        (basic("amy", "pencil"), 200),
        (basic("amy", "pencil"), 200),
        (basic("amy", "Pencil"), 401),
        (basic("bob", "pencil"), 401),
        (basic("", ""), 401),
        ("authorization: Bearer x\r\n".to_owned(), 401),
        ("authorization: Basic %%%\r\n".to_owned(), 401),
        ("authorization: Basic\r\n".to_owned(), 401),
    ] {
        assert_eq!(secured.plain(&headers).await, want, "{headers}");
    }
    // On one connection each request is looked at.
    let mut client = secured.exporter.connect().await;
    for (headers, want) in [(basic("amy", "pencil"), 200), (String::new(), 401)] {
        let head = format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        client.send(head).await;
        assert_eq!(client.answer("GET").await.status, want, "{headers}");
    }
}

#[tokio::test]
async fn unknown_users_cost_as_much_as_known_ones() {
    let hash = bcrypt::hash("pencil", 8).unwrap();
    let secured = Secured::start(&format!("basic_auth_users: {{amy: {hash}}}\n")).await;
    let mut least = [Duration::MAX; 2];
    for _ in 0..5 {
        for (name, least) in ["amy", "bob"].iter().zip(&mut least) {
            let start = Instant::now();
            assert_eq!(secured.plain(&basic(name, "wrong")).await, 401);
            *least = start.elapsed().min(*least);
        }
    }
    let [known, unknown] = least.map(|time| time.as_secs_f64());
    assert!((0.4..2.5).contains(&(unknown / known)), "{least:?}");
    // And one who is remembered, next to nothing.
    assert_eq!(secured.plain(&basic("amy", "pencil")).await, 200);
    let start = Instant::now();
    assert_eq!(secured.plain(&basic("amy", "pencil")).await, 200);
    assert!(
        start.elapsed() < least[0],
        "{:?} {least:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_flood_of_passwords_does_not_pile_up() {
    let hash = bcrypt::hash("pencil", 7).unwrap();
    let secured = Secured::start(&format!("basic_auth_users: {{amy: {hash}}}\n")).await;
    assert_eq!(secured.plain(&basic("amy", "pencil")).await, 200);
    let mut flood = Vec::new();
    for number in 0..150 {
        let mut client = secured.exporter.connect().await;
        let headers = basic("amy", &number.to_string());
        client
            .send(format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{headers}\r\n"))
            .await;
        flood.push(client);
    }
    // Who is known is let in all the while.
    assert_eq!(secured.plain(&basic("amy", "pencil")).await, 200);
    let mut refused = 0;
    for client in &mut flood {
        let answer = client.answer("GET").await;
        assert!([401, 503].contains(&answer.status), "{answer:?}");
        if answer.status == 503 {
            assert_eq!(answer.headers["retry-after"], "1");
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused} were refused");
}

#[tokio::test]
async fn headers_on_every_response() {
    let config = format!(
        "{}http_server_config:\n  headers:\n    X-Frame-Options: deny\n    \
         Content-Security-Policy: \"default-src 'self'\"\n    X-XSS-Protection:\n",
        users()
    );
    let secured = Secured::start(&config).await;
    for headers in [String::new(), basic("amy", "pencil")] {
        for path in ["/", "/metrics", "/nothing"] {
            let mut client = secured.exporter.connect().await;
            client
                .send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n"))
                .await;
            let answer = client.answer("GET").await;
            for (name, want) in [
                ("x-frame-options", Some("deny")),
                ("content-security-policy", Some("default-src 'self'")),
                ("x-content-type-options", Some("nosniff")),
                ("x-xss-protection", None),
            ] {
                let have = answer.headers.get(name).map(String::as_str);
                assert_eq!(have, want, "{path} {name}");
            }
        }
    }
}

#[tokio::test]
async fn the_rate_limit() {
    let secured = Secured::start("rate_limit: {interval: 1h, burst: 3}\n").await;
    for want in [200, 200, 200, 429, 429] {
        assert_eq!(secured.plain("").await, want);
    }
    let secured = Secured::start("rate_limit: {interval: 0, burst: 0}\n").await;
    for _ in 0..20 {
        assert_eq!(secured.plain("").await, 200);
    }
}

#[tokio::test]
async fn certificates_change_without_a_restart() {
    let secured = Secured::start(TLS).await;
    assert_eq!(secured.ask(&Speech::default(), "").await, Ok(200));
    let address = &secured.exporter.addresses[0];
    let config = secured.config(&Speech::default());
    let mut open = Client::try_connect_tls(address, config).await.unwrap();
    // A certificate without its key is no certificate: the old one holds.
    let next = Authority::new();
    let server = next.sign(&["localhost"]);
    secured.folder.write("server.pem", &server.certificate);
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(secured.ask(&Speech::default(), "").await, Ok(200));
    secured.folder.write("server.key", &server.key);
    let start = Instant::now();
    while secured.ask(&Speech::default(), "").await.is_ok() {
        assert!(
            start.elapsed() < PATIENCE,
            "the old certificate is still there"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut secured = secured;
    secured.authority = next;
    assert_eq!(secured.ask(&Speech::default(), "").await, Ok(200));
    open.get("/-/healthy")
        .await
        .check("a connection from before", 200, "healthy\n");
}

#[tokio::test]
async fn users_change_without_a_restart_and_mistakes_change_nothing() {
    let secured = Secured::start(&users()).await;
    assert_eq!(secured.plain(&basic("amy", "pencil")).await, 200);
    for bad in ["basic_auth_users: {amy: pencil}\n", "nonsense", TLS, ""] {
        secured.folder.write("web.yaml", bad);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(secured.plain(&basic("amy", "pencil")).await, 200, "{bad}");
        assert_eq!(secured.plain("").await, 401, "{bad}");
    }
    let hash = bcrypt::hash("brush", 4).unwrap();
    secured
        .folder
        .write("web.yaml", &format!("basic_auth_users: {{amy: {hash}}}\n"));
    let start = Instant::now();
    while secured.plain(&basic("amy", "brush")).await != 200 {
        assert!(start.elapsed() < PATIENCE, "the new password is not taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        secured.plain(&basic("amy", "pencil")).await,
        401,
        "the old one is forgotten"
    );
    eventually("every request ended", || {
        secured.exporter.backend.begun() == secured.exporter.backend.ended().len()
    })
    .await;
}

#[tokio::test]
async fn healthcheck_of_what_is_secured() {
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    for (what, config) in [
        ("nothing", String::new()),
        ("users", users()),
        ("TLS", TLS.to_owned()),
        (
            "TLS 1.2 with certificates",
            format!("{TLS}{verified}  max_version: TLS12\n"),
        ),
        ("TLS with certificates", format!("{TLS}{verified}")),
        ("all", format!("{TLS}{verified}{}", users())),
        ("TLS and users", format!("{TLS}{}", users())),
        (
            "a rate",
            "rate_limit: {interval: 1h, burst: 0}\n".to_owned(),
        ),
    ] {
        let mut secured = Secured::start(&config).await;
        let address: ListenAddress = secured.exporter.addresses[0].parse().unwrap();
        let asked = healthcheck(&address, true).await;
        assert!(asked.is_ok(), "{what}: {asked:?}");
        let asked = healthcheck(&address, false).await;
        assert_eq!(asked.is_ok(), what == "nothing", "{what}: {asked:?}");
        secured.exporter.stop();
        secured.exporter.stopped().await;
        let error = healthcheck(&address, true).await.unwrap_err().to_string();
        assert!(error.contains("refused"), "{what}: {error}");
    }
}

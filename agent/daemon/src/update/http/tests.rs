//! Downloads from servers that misbehave, on loopback. Every server takes a bounded number of connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::scratch::Scratch;

const FAST: Timing = Timing {
    connect: Duration::from_secs(5),
    stall: Duration::from_millis(400),
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
    tries: 10,
    early: 3,
    tick: Duration::from_millis(20),
};

/// What a server does with one connection; gets the head of the request.
type Act = Box<dyn Fn(&str, &mut dyn Wire) + Send + Sync>;

trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// A server that serves each connection in its own way; the last way serves all that follow.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(acts: Vec<Act>) -> Self {
        Self::with("127.0.0.1", acts, None)
    }

    fn with(address: &str, acts: Vec<Act>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, acts) = (Arc::clone(&requests), Arc::new(acts));
        thread::spawn(move || {
            for (number, socket) in listener.incoming().take(50).enumerate() {
                let Ok(socket) = socket else { return };
                let (seen, acts, tls) = (Arc::clone(&seen), Arc::clone(&acts), tls.clone());
                thread::spawn(move || serve(socket, &acts[number.min(acts.len() - 1)], &seen, tls));
            }
        });
        Self { port, requests }
    }

    fn url(&self, path: &str) -> Url {
        format!("http://127.0.0.1:{}{path}", self.port).parse().unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(socket: TcpStream, act: &Act, seen: &Mutex<Vec<String>>, tls: Option<Arc<ServerConfig>>) {
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let raw = socket.try_clone().unwrap();
    let mut wire: Box<dyn Wire> = match tls {
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), socket)),
        None => Box::new(socket),
    };
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match wire.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) | Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push(head.clone());
    act(&head, &mut *wire);
    drop(wire);
    let _ = raw.shutdown(Shutdown::Both);
}

fn content(length: usize) -> Vec<u8> {
    (0_u32..).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).take(length).collect()
}

/// Where a request wants to begin.
fn from(request: &str) -> usize {
    let range = request.lines().find_map(|line| line.strip_prefix("Range: bytes=")?.strip_suffix('-'));
    range.map_or(0, |text| text.parse().unwrap())
}

/// An honest answer, cut off after so many bytes of the body.
fn honest(file: Vec<u8>, tag: &'static str, most: usize) -> Act {
    Box::new(move |request, wire| {
        let start = from(request);
        let whole = file.len();
        let same =
            request.lines().find_map(|line| line.strip_prefix("If-Range: ")).is_none_or(|has| has == tag);
        let (line, start) = if start == 0 || !same {
            (format!("200 OK\r\nContent-Length: {whole}"), 0)
        } else {
            let range = format!("Content-Range: bytes {start}-{}/{whole}", whole - 1);
            (format!("206 Partial Content\r\nContent-Length: {}\r\n{range}", whole - start), start)
        };
        let _ = write!(wire, "HTTP/1.1 {line}\r\nETag: {tag}\r\n\r\n");
        let _ = wire.write_all(&file[start..whole.min(start.saturating_add(most))]);
        let _ = wire.flush();
    })
}

fn text(answer: &'static str) -> Act {
    Box::new(move |_, wire| {
        let _ = wire.write_all(answer.as_bytes());
        let _ = wire.flush();
    })
}

/// Everything that comes, or why not; and the news on the way.
fn fetch(mut http: Http, expect: Option<usize>) -> (Result<Vec<u8>, String>, Vec<String>) {
    let (mut got, mut news, mut buffer) = (Vec::new(), Vec::new(), vec![0; 10_000]);
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(60), "bounded");
        news.extend(http.news());
        match http.read(&mut buffer) {
            Ok(Got::Bytes(count)) => {
                got.extend(&buffer[..count]);
                if let Some(length) = expect {
                    http.expect(length as u64);
                }
            }
            Ok(Got::Waiting) => {}
            Ok(Got::End) => return (Ok(got), news),
            Err(error) => return (Err(error.to_string()), news),
        }
    }
}

fn get(server: &Server) -> (Result<Vec<u8>, String>, Vec<String>) {
    fetch(Http::new(server.url("/x.bundle"), FAST), None)
}

#[test]
fn a_file_comes_in_one_piece_from_a_good_server() {
    let file = content(300_000);
    let server = Server::new(vec![honest(file.clone(), "\"1\"", usize::MAX)]);
    let (got, news) = get(&server);
    assert!(got.unwrap() == file);
    assert!(news.is_empty(), "{news:?}");
    let requests = server.requests();
    assert!(requests.len() == 1 && requests[0].starts_with("GET /x.bundle HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[0].contains("Connection: close") && !requests[0].contains("Range"), "{requests:?}");
}

#[test]
fn a_server_that_closes_again_and_again_is_asked_for_the_rest_each_time() {
    let file = content(3_000_000);
    // Thirty connections: more than the tries in a row, but each brings enough.
    let server = Server::new(vec![honest(file.clone(), "\"1\"", 300_000)]);
    let (got, news) = get(&server);
    assert!(got.unwrap() == file);
    assert!((9..40).contains(&news.len()), "{}", news.len());
    assert!(news[0].contains("Going on in") && news[0].len() < 160, "{news:?}");
    let requests = server.requests();
    assert!(requests[1].contains("Range: bytes=300000-\r\nIf-Range: \"1\"\r\n"), "{}", requests[1]);
}

#[test]
fn tries_that_bring_nothing_are_bounded_and_the_error_says_how_to_go_on() {
    let server =
        Server::new(vec![honest(content(100_000), "\"1\"", 1_000), honest(content(100_000), "\"1\"", 0)]);
    let (got, news) = get(&server);
    let error = got.unwrap_err();
    assert!(error.contains("given up at 1000 B of 97.6 KiB after 10 tries"), "{error}");
    assert!(error.contains("run the same command again"), "{error}");
    assert_eq!((news.len(), server.requests().len()), (9, 10));
}

#[test]
fn a_server_that_stalls_is_noticed_and_continued() {
    let file = content(100_000);
    let stalls: Act = {
        let file = file.clone();
        Box::new(move |_, wire| {
            let _ = write!(wire, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"1\"\r\n\r\n", file.len());
            let _ = wire.write_all(&file[..50_000]);
            let _ = wire.flush();
            thread::sleep(Duration::from_millis(1_500));
        })
    };
    let silent: Act = Box::new(|_, _| thread::sleep(Duration::from_millis(1_500)));
    let server = Server::new(vec![stalls, silent, honest(file.clone(), "\"1\"", usize::MAX)]);
    let (got, news) = get(&server);
    assert!(got.unwrap() == file);
    assert!(news[0].contains("nothing came for 1 s"), "{news:?}");
}

#[test]
fn a_file_that_changes_meanwhile_is_never_mixed() {
    let server = Server::new(vec![
        honest(content(100_000), "\"1\"", 50_000),
        honest(content(100_000), "\"2\"", 100_000),
    ]);
    assert!(get(&server).0.unwrap_err().contains("changed on the server"));
    let server =
        Server::new(vec![honest(content(100_000), "\"1\"", 50_000), text("HTTP/1.1 416 Range\r\n\r\n")]);
    assert!(get(&server).0.unwrap_err().contains("changed on the server"));
    // No tag to tell by, but another length.
    let cut = text("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789");
    let other = text("HTTP/1.1 206 P\r\nContent-Range: bytes 10-29/30\r\nContent-Length: 20\r\n\r\n");
    assert!(get(&Server::new(vec![cut, other])).0.unwrap_err().contains("changed on the server"));
}

#[test]
fn a_server_without_ranges_sends_all_again_and_nothing_comes_twice() {
    let file = content(100_000);
    let plain = |most: usize| -> Act {
        let file = file.clone();
        Box::new(move |_, wire| {
            let _ = write!(wire, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
            let _ = wire.write_all(&file[..most]);
            let _ = wire.flush();
        })
    };
    let server = Server::new(vec![plain(30_000), plain(60_000), plain(100_000)]);
    assert!(get(&server).0.unwrap() == file);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_server_that_sends_another_part_than_asked_for_is_not_believed() {
    let cut = text("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789");
    let wrong = text("HTTP/1.1 206 P\r\nContent-Range: bytes 15-19/20\r\nContent-Length: 5\r\n\r\nfghij");
    let error = get(&Server::new(vec![cut, wrong])).0.unwrap_err();
    assert!(error.contains("another part than was asked for"), "{error}");
}

#[test]
fn an_interim_answer_is_passed_over_also_when_the_real_one_comes_with_it() {
    let both = text("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    let (got, news) = get(&Server::new(vec![both]));
    assert_eq!((got.unwrap(), news.len()), (b"abc".to_vec(), 0));
}

#[test]
fn what_a_server_refuses_is_told_at_once_and_its_own_trouble_is_waited_for() {
    for (status, words) in
        [("404 Not Found", "404 NotFound"), ("403 Forbidden", "403 Forbidden"), ("401 No", "401 No")]
    {
        let server = Server::new(vec![{
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            Box::new(move |_, wire| {
                let _ = wire.write_all(answer.as_bytes());
            })
        }]);
        let error = get(&server).0.unwrap_err();
        assert!(error.contains(words) && server.requests().len() == 1, "{error}");
    }
    let file = content(1_000);
    let server = Server::new(vec![
        text("HTTP/1.1 500 Oops\r\n\r\n"),
        text("HTTP/1.1 503 Busy\r\n\r\n"),
        honest(file.clone(), "\"1\"", usize::MAX),
    ]);
    assert!(get(&server).0.unwrap() == file);
    let server = Server::new(vec![text("HTTP/1.1 500 Oops\r\n\r\n")]);
    let error = get(&server).0.unwrap_err();
    assert!(error.contains("nothing came after 3 tries") && error.contains("500 Oops"), "{error}");
    assert!(get(&Server::new(vec![text("SSH-2.0-x\r\n")])).0.unwrap_err().contains("no HTTP/1.1"));
}

#[test]
fn nobody_there_is_told_after_few_tries() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let http = Http::new(format!("http://127.0.0.1:{port}/").parse().unwrap(), FAST);
    let error = fetch(http, None).0.unwrap_err();
    assert!(error.contains("after 3 tries") && error.contains("does not answer"), "{error}");
}

#[test]
fn redirections_are_followed_and_bounded() {
    let file = content(1_000);
    let server = Server::new(vec![
        text("HTTP/1.1 302 Found\r\nLocation: /other/place\r\n\r\n"),
        text("HTTP/1.1 308 Moved\r\nLocation: again\r\n\r\n"),
        honest(file.clone(), "\"1\"", usize::MAX),
    ]);
    assert!(get(&server).0.unwrap() == file);
    assert!(server.requests()[2].starts_with("GET /other/again "), "{:?}", server.requests());
    let server = Server::new(vec![text("HTTP/1.1 302 Found\r\nLocation: /round\r\n\r\n")]);
    assert!(get(&server).0.unwrap_err().contains("more than 5 redirections"));
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn bodies_in_chunks_and_bodies_without_length_are_whole_only_when_all_came() {
    let chunked =
        text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n");
    assert_eq!(get(&Server::new(vec![chunked])).0.unwrap(), b"0123456789");
    let cut = text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56");
    let rest = text("HTTP/1.1 206 P\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\n789");
    assert_eq!(get(&Server::new(vec![cut, rest])).0.unwrap(), b"0123456789");
    let close = || text("HTTP/1.1 200 OK\r\n\r\n01234");
    assert_eq!(get(&Server::new(vec![close()])).0.unwrap(), b"01234");
    // The signed manifest says that there is more.
    let rest = text("HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789");
    let server = Server::new(vec![close(), rest]);
    let (got, news) = fetch(Http::new(server.url("/"), FAST), Some(10));
    assert_eq!(got.unwrap(), b"0123456789");
    assert!(news[0].contains("cut off"), "{news:?}");
}

#[test]
fn more_than_was_announced_is_not_taken() {
    let more = text("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0123456789");
    assert_eq!(get(&Server::new(vec![more])).0.unwrap(), b"01234");
}

fn tls(certificate: &[u8]) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}

fn secure(
    server: &Server,
    host: &str,
    authorities: &std::path::Path,
) -> (Result<Vec<u8>, String>, Vec<String>) {
    let url = format!("https://{host}:{}/x.bundle", server.port).parse().unwrap();
    let http = Http { authorities: authorities.to_owned(), ..Http::new(url, FAST) };
    fetch(http, None)
}

#[test]
fn over_tls_a_file_comes_from_a_server_that_the_operators_authority_vouches_for() {
    let dir = Scratch::new("tls");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, include_bytes!("testdata/ca.pem")).unwrap();
    let file = content(900_000);
    let config = tls(include_bytes!("testdata/server.pem"));
    let server =
        Server::with("127.0.0.1", vec![honest(file.clone(), "\"1\"", 400_000)], Some(Arc::clone(&config)));
    assert!(secure(&server, "localhost", &ca).0.unwrap() == file, "resumed, too");
    let other = Server::with("127.0.0.2", vec![text("")], Some(Arc::clone(&config)));
    let error = secure(&other, "127.0.0.2", &ca).0.unwrap_err();
    assert!(error.contains("for another name"), "{error}");
    let server = Server::with("127.0.0.1", vec![honest(file.clone(), "\"1\"", usize::MAX)], Some(config));
    assert!(secure(&server, "127.0.0.1", &ca).0.unwrap() == file);
    let error = secure(&server, "localhost", &dir.path().join("none.pem")).0.unwrap_err();
    assert!(error.contains("no authority that this box knows") && error.contains("usb:NAME"), "{error}");
    std::fs::write(&ca, "nothing").unwrap();
    assert!(secure(&server, "localhost", &ca).0.unwrap_err().contains("no certificate in PEM"));
}

#[test]
fn a_certificate_of_the_future_and_a_server_without_tls_name_the_way_out() {
    let dir = Scratch::new("tls");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, include_bytes!("testdata/ca.pem")).unwrap();
    let server = Server::with("127.0.0.1", vec![text("")], Some(tls(include_bytes!("testdata/future.pem"))));
    let (got, news) = secure(&server, "localhost", &ca);
    let error = got.unwrap_err();
    assert!(error.contains("not valid yet by the clock of this box") && error.contains("http://"), "{error}");
    assert!(news.is_empty(), "no second try: {news:?}");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in plain.incoming().take(1) {
            let _ = socket.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let http = Http::new(format!("https://127.0.0.1:{port}/").parse().unwrap(), FAST);
    let error = fetch(http, None).0.unwrap_err();
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[test]
fn a_redirection_never_leads_out_of_tls() {
    let dir = Scratch::new("tls");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, include_bytes!("testdata/ca.pem")).unwrap();
    let away = text("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/x\r\nContent-Length: 0\r\n\r\n");
    let server = Server::with("127.0.0.1", vec![away], Some(tls(include_bytes!("testdata/server.pem"))));
    assert!(secure(&server, "localhost", &ca).0.unwrap_err().contains("unencrypted address"));
}

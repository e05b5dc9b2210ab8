//! Health in the table: rise and fall, and the sorry server without an empty moment.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::GuestCase;
use super::park::{Director, LONG, Park, Service, VIP_V4, saved};
use super::servers::request;

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![
        GuestCase {
            name: "guest: a real server that stops leaves the table and returns with it",
            run: leaves,
        },
        GuestCase {
            name: "guest: the sorry server comes before the last one leaves, and goes after the first",
            run: sorry,
        },
    ]
}

/// With a check that takes about a second to decide.
fn checked(sorry: Option<&str>) -> Service {
    let mut service = Service::new("web", VIP_V4, "nat", &["10.10.0.21", "10.10.0.22"]);
    if let Some(sorry) = sorry {
        service.more += &format!("sorry-server = \"{sorry}:8080\"\n");
    }
    service.more += "[virtual-server.web.check]\nkind = \"tcp\"\ninterval = \"400ms\"\ntimeout = \"400ms\"\nrise = 2\nfall = 2\n";
    service
}

/// The table with only these real servers, the last of them as the sorry server with weight 1.
fn with(service: &Service, servers: &[&str]) -> Vec<String> {
    let mut fewer = service.clone();
    fewer.servers = servers.iter().map(|server| ((*server).to_owned(), 1)).collect();
    saved(&[fewer])
}

fn leaves(park: &mut Park) -> Result<String> {
    let service = checked(None);
    let (_first, _second) = park.pair(&service.toml())?;
    park.a.wait_table(&saved(std::slice::from_ref(&service)), LONG)?;
    // The backup's table follows the same health, so that it can take over at any time.
    park.b.wait_table(&saved(std::slice::from_ref(&service)), LONG)?;
    let mut took = Vec::new();
    for _ in 0..2 {
        park.nat[0].stop();
        let begin = Instant::now();
        park.a.wait_table(&with(&service, &["10.10.0.22"]), LONG)?;
        took.push(begin.elapsed());
        for _ in 0..4 {
            let name = request(&park.client.netns, VIP_V4)?;
            ensure!(name == "nat22", "a request went to {name}");
        }
        park.nat[0].start()?;
        let begin = Instant::now();
        park.a.wait_table(&saved(std::slice::from_ref(&service)), LONG)?;
        took.push(begin.elapsed());
    }
    let figures: Vec<String> = took.iter().map(|time| time.as_millis().to_string()).collect();
    Ok(format!("out, in, out, in after {} ms", figures.join(" ")))
}

/// Looks at the table some hundred times a second and keeps every different list of real servers.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Vec<String>>>>,
}

impl Watch {
    fn start(director: &Director) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = director.host.netns.thread("watch", move || {
            let mut seen: Vec<Vec<String>> = Vec::new();
            while !flag.load(Ordering::Relaxed) {
                let table = fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap_or_default();
                let servers = real_servers(&table);
                if seen.last() != Some(&servers) {
                    seen.push(servers);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        })?;
        Ok(Self { stop, thread })
    }

    fn end(self) -> Result<Vec<Vec<String>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watch panicked"))?
    }
}

/// `  -> 0A0A0015:1F90 Masq 1 0 0` in `/proc/net/ip_vs`: the hexadecimal addresses.
fn real_servers(table: &str) -> Vec<String> {
    let name = |line: &str| Some(line.trim().strip_prefix("-> ")?.split(':').next()?.to_owned());
    let mut servers: Vec<String> =
        table.lines().filter_map(name).filter(|name| name.starts_with("0A")).collect();
    servers.sort();
    servers
}

fn sorry(park: &mut Park) -> Result<String> {
    // The sorry server is one of the DR machines, reached by NAT through the front.
    park.dr[0]
        .host
        .netns
        .ip("route add default via 10.9.0.100")
        .or_else(|error| if format!("{error:#}").contains("exists") { Ok(()) } else { Err(error) })?;
    let service = checked(Some("10.9.0.31"));
    let (_first, _second) = park.pair(&service.toml())?;
    park.a.wait_table(&saved(std::slice::from_ref(&service)), LONG)?;
    let watch = Watch::start(&park.a)?;
    for _ in 0..2 {
        park.nat[0].stop();
        park.nat[1].stop();
        park.a.wait_table(&with(&service, &["10.9.0.31"]), LONG).context("both servers are down")?;
        park.nat[0].start()?;
        park.nat[1].start()?;
        park.a.wait_table(&saved(std::slice::from_ref(&service)), LONG).context("both servers are back")?;
    }
    let seen = watch.end()?;
    ensure!(seen.len() >= 4, "the watch saw only {seen:?}");
    ensure!(seen.iter().all(|servers| !servers.is_empty()), "the list was empty at a moment: {seen:?}");
    ensure!(
        seen.iter().any(|servers| *servers == ["0A09001F"]),
        "the sorry server was never alone: {seen:?}"
    );
    Ok(format!("{} different lists, none empty", seen.len()))
}

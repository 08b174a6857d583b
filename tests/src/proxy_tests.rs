use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout},
};

use super::{Link, Processes, Proxy};
use crate::{loopback::Network, wait::DEADLINE};

/// Long enough for a line to get through were it let.
const WHILE: Duration = Duration::from_millis(150);

/// Node 1 is this process, node 2 a child of it, node 3 one that answers each line with the same.
struct World {
    proxy: Proxy,
    processes: Processes,
    front: (String, u16),
}

impl World {
    async fn new() -> World {
        let network = Network::new();
        let listener = TcpListener::bind((network.back(0), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let processes = Processes::default();
        processes.set(1, std::process::id());
        let mut proxy = Proxy::new(processes.clone());
        proxy.stand_before(3, (&network.front(0), port), (&network.back(0), port)).await;
        World { proxy, processes, front: (network.front(0), port) }
    }

    async fn connect(&self) -> Caller {
        let (read, write) = TcpStream::connect((self.front.0.as_str(), self.front.1)).await.unwrap().into_split();
        Caller { read: BufReader::new(read), write }
    }
}

/// A connection of node 1.
struct Caller {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Caller {
    /// `None`: the connection is broken.
    async fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        match timeout(DEADLINE, self.read.read_line(&mut line)).await.expect("an answer or an end") {
            Ok(1..) => Some(line),
            Ok(0) | Err(_) => None,
        }
    }

    async fn say(&mut self, line: &str) {
        let _ = self.write.write_all(line.as_bytes()).await;
    }

    async fn echo(&mut self, line: &str) -> Option<String> {
        self.say(line).await;
        self.answer().await
    }

    async fn is_silent(&mut self) -> bool {
        timeout(WHILE, self.read.fill_buf()).await.is_err()
    }
}

#[tokio::test]
async fn what_is_refused_breaks_and_comes_again_when_it_is_healed() {
    let world = World::new().await;
    let mut old = world.connect().await;
    assert_eq!(old.echo("a\n").await.as_deref(), Some("a\n"));
    world.proxy.isolate(1, [1, 3], Link::Refused);
    assert_eq!(old.answer().await, None);
    assert_eq!(world.connect().await.echo("b\n").await, None);
    world.proxy.heal();
    assert_eq!(world.connect().await.echo("c\n").await.as_deref(), Some("c\n"));
}

#[tokio::test]
async fn what_is_silent_neither_breaks_nor_arrives_until_it_is_healed() {
    let world = World::new().await;
    let mut old = world.connect().await;
    assert_eq!(old.echo("a\n").await.as_deref(), Some("a\n"));
    world.proxy.set(1, 3, Link::Silent);
    let mut new = world.connect().await;
    old.say("b\n").await;
    new.say("c\n").await;
    assert!(old.is_silent().await && new.is_silent().await);
    world.proxy.heal();
    assert_eq!(old.answer().await.as_deref(), Some("b\n"));
    assert_eq!(new.answer().await.as_deref(), Some("c\n"));
}

#[tokio::test]
async fn what_is_delayed_arrives_in_order_and_not_before_its_time() {
    let world = World::new().await;
    let mut caller = world.connect().await;
    let delay = Duration::from_millis(60);
    world.proxy.set(1, 3, Link::Delayed(delay));
    let began = Instant::now();
    assert_eq!(caller.echo("a\n").await.as_deref(), Some("a\n"));
    assert!(began.elapsed() >= 2 * delay, "there and back took {:?}", began.elapsed());
    caller.say("b\nc\n").await;
    assert_eq!(caller.answer().await.as_deref(), Some("b\n"));
    assert_eq!(caller.answer().await.as_deref(), Some("c\n"));
}

/// A child process that connects, then passes lines on from its input, and back.
fn child(host: &str, port: u16) -> (Child, BufReader<ChildStdout>) {
    let script = format!("read; exec 3<>/dev/tcp/{host}/{port}; cat <&3 & exec cat >&3");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

#[tokio::test]
async fn a_rule_binds_the_process_that_it_names_and_no_other() {
    let world = World::new().await;
    let (mut other, mut answers) = child(&world.front.0, world.front.1);
    world.processes.set(2, other.id().unwrap());
    world.proxy.set(1, 3, Link::Refused);
    let mut stdin = other.stdin.take().unwrap();
    stdin.write_all(b"connect now\na\n").await.unwrap();
    let mut line = String::new();
    timeout(DEADLINE, answers.read_line(&mut line)).await.unwrap().unwrap();
    assert_eq!(line, "a\n");
    assert_eq!(world.connect().await.echo("b\n").await, None);

    world.proxy.set(1, 3, Link::Open);
    world.proxy.set(2, 3, Link::Refused);
    assert_eq!(timeout(DEADLINE, answers.read_line(&mut line)).await.unwrap().unwrap(), 0, "the connection is broken");
    assert_eq!(world.connect().await.echo("c\n").await.as_deref(), Some("c\n"));
}

//! Stands for the network between the service and its database: it can be cut, go silent, or lose one packet.
//!
//! It understands just enough of the MySQL protocol (without TLS or compression) to see a client's commands. A packet
//! is a length of three bytes, a sequence number, and the payload. Number 0 begins a command, whose first byte is the
//! command's code.

use std::{
    io::{self, ErrorKind},
    ops::Sub,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    database::TestDatabase,
    server::{Sale, TestServer, default_settings},
    wait,
};

/// How long a COMMIT may take to come.
const COMMIT_LIMIT: Duration = Duration::from_secs(30);

const COMMAND_QUERY: u8 = 0x03;
const COMMAND_PREPARE: u8 = 0x16;
const COMMAND_EXECUTE: u8 = 0x17;

/// Runs a proxy on 127.0.0.1 as long as this value lives, in the runtime that started it.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

struct State {
    network: watch::Sender<Network>,
    commit_fault: Mutex<Option<CommitFault>>,
    held_back: Mutex<Option<HeldBack>>,
    counts: [AtomicU64; 5],
}

/// Keeps a COMMIT that isn't sent yet, and its session at the database, whose client has gone.
struct HeldBack {
    database: TcpStream,
    packet: Packet,
}

#[derive(Clone, Copy)]
struct Network {
    passage: Passage,
    /// A connection that began at another number is reset.
    resets: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    Closed,
    Silent,
}

#[derive(Clone, Copy)]
enum CommitFault {
    LoseAnswer,
    DropRequest,
    HoldBack,
    Stall,
}

/// Says how a connection ends.
enum End {
    Closed,
    Reset,
    HeldBack(Packet),
}

/// Counts what clients have sent so far, including what a fault has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were opened.
    pub connections: u64,
    /// COM_QUERY, commits included: one or more statements as text.
    pub queries: u64,
    /// COM_STMT_PREPARE.
    pub prepares: u64,
    /// COM_STMT_EXECUTE.
    pub executes: u64,
    /// Queries that are or end in COMMIT.
    pub commits: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            queries: self.queries - before.queries,
            prepares: self.prepares - before.prepares,
            executes: self.executes - before.executes,
            commits: self.commits - before.commits,
        }
    }
}

impl Sale {
    /// Starts a sale whose server reaches its database through a proxy.
    pub async fn start_behind_proxy(name: &str) -> (Self, Proxy) {
        let database = TestDatabase::create(name).await;
        let proxy = Proxy::start(database.port()).await;
        let server = TestServer::start_with(&database.url_at(proxy.port()), default_settings()).await;
        (Self { database, server }, proxy)
    }
}

impl Proxy {
    /// Starts a proxy in front of the database server at `database_port`.
    pub async fn start(database_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Network { passage: Passage::Open, resets: 0 };
        let state = Arc::new(State {
            network: watch::Sender::new(open),
            commit_fault: Mutex::new(None),
            held_back: Mutex::new(None),
            counts: Default::default(),
        });
        let listening = tokio::spawn(listen(listener, database_port, Arc::clone(&state)));
        Self { port, state, listening }
    }

    /// Returns the proxy's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets all connections, and from now on every new one.
    pub fn cut(&self) {
        self.state.network.send_modify(|network| {
            network.passage = Passage::Closed;
            network.resets += 1;
        });
    }

    /// Resets the present connections and lets new ones pass.
    pub fn reset_connections(&self) {
        self.state.network.send_modify(|network| network.resets += 1);
    }

    /// Lets nothing through in either direction: connections stay open, and new ones hang.
    pub fn blackhole(&self) {
        self.state.network.send_modify(|network| network.passage = Passage::Silent);
    }

    /// Ends [`Self::cut`] or [`Self::blackhole`], and delivers what a black hole has kept.
    pub fn heal(&self) {
        self.state.network.send_modify(|network| network.passage = Passage::Open);
    }

    /// Loses the answer to the next COMMIT of any connection.
    ///
    /// The database carries the COMMIT out. The client sees its connection reset in place of the answer.
    pub fn lose_next_commit_answer(&self) {
        *self.state.commit_fault.lock().unwrap() = Some(CommitFault::LoseAnswer);
    }

    /// Drops the next COMMIT of any connection before it reaches the database, and resets the client's connection.
    pub fn drop_next_commit_request(&self) {
        *self.state.commit_fault.lock().unwrap() = Some(CommitFault::DropRequest);
    }

    /// Keeps the next COMMIT of any connection, and resets the client's connection.
    ///
    /// The session stays at the database, with its locks, until [`Self::deliver_held_back_commit`].
    pub fn hold_back_next_commit(&self) {
        *self.state.commit_fault.lock().unwrap() = Some(CommitFault::HoldBack);
    }

    /// Never delivers the next COMMIT of any connection: the connection stays open and silent.
    pub fn stall_next_commit(&self) {
        *self.state.commit_fault.lock().unwrap() = Some(CommitFault::Stall);
    }

    /// Tells whether a COMMIT is held back now.
    pub fn holds_back_a_commit(&self) -> bool {
        self.state.held_back.lock().unwrap().is_some()
    }

    /// Sends the COMMIT that was held back.
    ///
    /// Returns when the database has carried it out or refused it, or had already ended the session.
    pub async fn deliver_held_back_commit(&self) {
        let held_back = self.state.held_back.lock().unwrap().take();
        let HeldBack { mut database, packet } = held_back.unwrap();
        let deliver = async {
            database.write_all(&packet.bytes).await?;
            // The database closes its side when the COMMIT is done, so the end of the answers says so.
            database.shutdown().await?;
            database.read_to_end(&mut Vec::new()).await
        };
        match deliver.await {
            Ok(_) => {}
            Err(error) => {
                let ended = matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected
                );
                assert!(ended, "{error}");
            }
        }
    }

    /// Tells whether the fault of the next COMMIT is still to come.
    pub fn is_waiting_for_commit(&self) -> bool {
        self.state.commit_fault.lock().unwrap().is_some()
    }

    /// Waits until one more transaction has ended than at `before`.
    ///
    /// A call that has met a locked row then waits outside of any transaction.
    pub async fn wait_for_commit_after(&self, before: Counts) {
        wait::eventually(COMMIT_LIMIT, "a COMMIT", async || self.counts().commits > before.commits).await;
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> Counts {
        let [connections, queries, prepares, executes, commits] =
            [0, 1, 2, 3, 4].map(|at| self.state.counts[at].load(Ordering::Relaxed));
        Counts { connections, queries, prepares, executes, commits }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl State {
    fn count(&self, packet: &Packet) {
        let add = |at: usize| self.counts[at].fetch_add(1, Ordering::Relaxed);
        match packet.command() {
            Some(COMMAND_QUERY) => _ = add(1),
            Some(COMMAND_PREPARE) => _ = add(2),
            Some(COMMAND_EXECUTE) => _ = add(3),
            _ => {}
        }
        if packet.is_commit() {
            add(4);
        }
    }
}

async fn listen(listener: TcpListener, database_port: u16, state: Arc<State>) {
    // A drop of the set ends the connections with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        state.counts[0].fetch_add(1, Ordering::Relaxed);
        connections.spawn(carry(client, database_port, Arc::clone(&state)));
    }
}

/// Carries one connection from its beginning to its end.
async fn carry(mut client: TcpStream, database_port: u16, state: Arc<State>) {
    let mut network = state.network.subscribe();
    let start = *network.borrow_and_update();
    let end = if start.passage == Passage::Closed {
        End::Reset
    } else {
        let broken = network.wait_for(|now| now.resets != start.resets);
        tokio::select! {
            end = exchange(&mut client, database_port, &state) => end.unwrap_or(End::Reset),
            _ = broken => End::Reset,
        }
    };
    if matches!(end, End::Reset) {
        let _ = client.set_zero_linger();
    }
}

async fn exchange(client: &mut TcpStream, database_port: u16, state: &State) -> io::Result<End> {
    let mut database = TcpStream::connect(("127.0.0.1", database_port)).await?;
    client.set_nodelay(true)?;
    database.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_database, to_database) = database.split();
    let answer_is_lost = AtomicBool::new(false);
    let end = tokio::select! {
        end = pass_requests(from_client, to_database, state, &answer_is_lost) => end,
        end = pass_answers(from_database, to_client, state, &answer_is_lost) => end,
    };
    if let Ok(End::HeldBack(packet)) = end {
        *state.held_back.lock().unwrap() = Some(HeldBack { database, packet });
        return Ok(End::Reset);
    }
    end
}

async fn pass_requests(
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    state: &State,
    answer_is_lost: &AtomicBool,
) -> io::Result<End> {
    let mut from = BufReader::new(from);
    loop {
        let Some(packet) = Packet::read(&mut from).await? else {
            return Ok(End::Closed);
        };
        state.count(&packet);
        state.wait_for_passage().await;
        let fault = if packet.is_commit() { state.commit_fault.lock().unwrap().take() } else { None };
        match fault {
            None => to.write_all(&packet.bytes).await?,
            Some(CommitFault::DropRequest) => return Ok(End::Reset),
            Some(CommitFault::HoldBack) => return Ok(End::HeldBack(packet)),
            Some(CommitFault::Stall) => return std::future::pending().await,
            Some(CommitFault::LoseAnswer) => {
                answer_is_lost.store(true, Ordering::Relaxed);
                to.write_all(&packet.bytes).await?;
                // The database carries out the COMMIT before it sees the end of the connection and closes its side.
                // The end of the answers therefore says that the COMMIT is done.
                to.shutdown().await?;
                return std::future::pending().await;
            }
        }
    }
}

async fn pass_answers(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    state: &State,
    answer_is_lost: &AtomicBool,
) -> io::Result<End> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        match (length, answer_is_lost.load(Ordering::Relaxed)) {
            (0, true) => return Ok(End::Reset),
            (0, false) => return Ok(End::Closed),
            (_, true) => {}
            (_, false) => {
                state.wait_for_passage().await;
                to.write_all(&buffer[..length]).await?;
            }
        }
    }
}

impl State {
    async fn wait_for_passage(&self) {
        let mut network = self.network.subscribe();
        // A cut connection doesn't wait here for long: `carry` ends it.
        let _ = network.wait_for(|now| now.passage == Passage::Open).await;
    }
}

/// Holds a packet with its four bytes of header.
struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// Reads a packet, or `None` at the end of the connection.
    async fn read(from: &mut BufReader<ReadHalf<'_>>) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; 4];
        match from.read_exact(&mut bytes).await {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        };
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        bytes.resize(4 + usize::try_from(length).unwrap(), 0);
        from.read_exact(&mut bytes[4..]).await?;
        Ok(Some(Self { bytes }))
    }

    /// Returns the command's code, or `None` for a packet that begins no command, such as one of the login.
    fn command(&self) -> Option<u8> {
        (self.bytes[3] == 0).then_some(*self.bytes.get(4)?)
    }

    /// Tells whether the packet is a query whose last statement is COMMIT.
    fn is_commit(&self) -> bool {
        if self.command() != Some(COMMAND_QUERY) {
            return false;
        }
        let sql = String::from_utf8_lossy(&self.bytes[5..]).to_ascii_uppercase();
        let sql = sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        sql.strip_suffix("COMMIT")
            .is_some_and(|before| before.trim_end().is_empty() || before.trim_end().ends_with(';'))
    }
}

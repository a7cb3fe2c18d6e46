//! The addresses of a service: which of them serve, and which one is called next.
//!
//! Where there are several, each is watched by gRPC's health service, over the connection that its calls take. One that
//! doesn't answer, or says that it doesn't serve, is left out until it does. While none is known to serve, all are
//! tried. tonic's own balancing would go on choosing an address that is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Limits the addresses of one client.
pub(crate) const ADDRESSES_MAX: usize = 64;
/// Limits how long one watch goes on before the next begins.
///
/// A connection that the server wants to close stays open for the watch on it.
const WATCH_TIME_MAX: Duration = Duration::from_secs(60);
/// Limits how long the first answer of a watch may take. A server that is slower counts as away.
const WATCH_ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Says how long to rest after a watch has failed; at random, up to half as long again.
const WATCH_REST: Duration = Duration::from_millis(500);

/// Holds one address.
#[derive(Debug)]
struct Address {
    channel: Channel,
    /// Whether calls should go here. True until the first watch says otherwise.
    serves: AtomicBool,
}

/// Holds the addresses of a service. The watches end when it is dropped.
#[derive(Debug)]
pub(crate) struct Addresses {
    all: Arc<[Address]>,
    next: AtomicUsize,
    _watches: JoinSet<()>,
}

/// Remembers which addresses a call has tried, and which one last.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    bits: u64,
    last: Option<usize>,
}

impl Tried {
    fn has(&self, index: usize) -> bool {
        self.bits & (1 << index) != 0
    }
}

impl Addresses {
    /// Watches the addresses, of which there are 1 to [`ADDRESSES_MAX`]. Must be called on a tokio runtime.
    pub(crate) fn new(channels: Vec<Channel>) -> Self {
        debug_assert!((1..=ADDRESSES_MAX).contains(&channels.len()));
        let all: Arc<[Address]> =
            channels.into_iter().map(|channel| Address { channel, serves: AtomicBool::new(true) }).collect();
        let mut watches = JoinSet::new();
        if all.len() > 1 {
            for index in 0..all.len() {
                let all = Arc::clone(&all);
                watches.spawn(async move { watch(&all[index]).await });
            }
        }
        Self { all, next: AtomicUsize::new(rand::random_range(0..ADDRESSES_MAX)), _watches: watches }
    }

    /// Chooses where to call, and remembers it: each address in turn, and first those that serve and are not yet tried.
    pub(crate) fn choose(&self, tried: &mut Tried) -> Channel {
        let count = self.all.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let rank = |index: usize| {
            let serves = self.all[index].serves.load(Ordering::Relaxed);
            (tried.last == Some(index), !serves, tried.has(index))
        };
        let index =
            (0..count).map(|step| first.wrapping_add(step) % count).min_by_key(|index| rank(*index)).unwrap_or(0);
        tried.bits |= 1 << index;
        tried.last = Some(index);
        self.all[index].channel.clone()
    }

    /// Whether there is an address that serves and that the call has not tried.
    pub(crate) fn has_untried(&self, tried: &Tried) -> bool {
        let untried = |(index, address): (usize, &Address)| address.serves.load(Ordering::Relaxed) && !tried.has(index);
        self.all.iter().enumerate().any(untried)
    }
}

/// Keeps `serves` true while the server says that it serves, and false otherwise.
async fn watch(address: &Address) {
    loop {
        match timeout(WATCH_TIME_MAX, follow(address)).await {
            // The watch was fine until its time was over.
            Err(_) => {}
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                // The health protocol says that such a server counts as serving.
                address.serves.store(true, Ordering::Relaxed);
                sleep(WATCH_TIME_MAX).await;
            }
            Ok(Ok(()) | Err(_)) => {
                address.serves.store(false, Ordering::Relaxed);
                sleep(WATCH_REST.mul_f64(rand::random_range(1.0..1.5))).await;
            }
        }
    }
}

/// Watches until the server no longer serves.
///
/// A server that says so may be about to stop, and would have to wait for the watch. So it is asked again after a rest.
async fn follow(address: &Address) -> Result<(), Status> {
    let mut client = HealthClient::new(address.channel.clone());
    let first = async {
        let mut words = client.watch(HealthCheckRequest { service: String::new() }).await?.into_inner();
        let word = words.message().await?;
        Ok::<_, Status>((words, word))
    };
    let (mut words, mut word) = timeout(WATCH_ANSWER_TIME_MAX, first)
        .await
        .map_err(|_| Status::deadline_exceeded("no answer to a health watch"))??;
    while word.is_some_and(|said| said.status() == ServingStatus::Serving) {
        address.serves.store(true, Ordering::Relaxed);
        word = words.message().await?;
    }
    Ok(())
}

//! Replaces certificates while callers call: no call may be lost.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{
    load::Load,
    support::{
        authority::{Authority, Issued, TlsFolder},
        client::Clients,
        database::TestDatabase,
        process::{Process, Program},
        programs::STOP_LIMIT,
        signal, wait,
    },
};

const LIMIT: Duration = Duration::from_secs(60);
const RENEWALS: usize = 5;

/// Connects, believing both authorities.
async fn channel(address: &str, believed: &str, shown: &(String, String)) -> Result<Channel, String> {
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(believed))
        .identity(Identity::from_pem(&shown.0, &shown.1));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    endpoint.connect().await.map_err(|error| format!("{error:?}"))
}

async fn renew(process: &Process, folder: &TlsFolder, shown: &Issued) {
    folder.show(shown);
    let before = process.lines_of("Credentials read anew").len();
    assert!(signal::send(process.pid(), "HUP"));
    wait::eventually(LIMIT, "the new certificate", async || process.lines_of("Credentials read anew").len() > before)
        .await;
}

/// Some callers keep their connection, and others make a new one for each call.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_while_certificates_are_replaced() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let folder = TlsFolder::new(&first.issue(&["localhost"]));
    folder.write("clients.pem", &first.pem);
    let database = TestDatabase::create("renewals").await;
    let (url, files) = (database.url(), folder.settings());
    let own = [
        ("DATABASE_URL", url.as_str()),
        ("FLASHSALE_LISTEN", "127.0.0.1:0"),
        ("FLASHSALE_METRICS_LISTEN", "127.0.0.1:0"),
    ];
    let files = files.iter().map(|(name, value)| (*name, value.as_str()));
    let mut process = Process::spawn(Program::Server, &[], &own.into_iter().chain(files).collect::<Vec<_>>());
    let address = process.address(LIMIT).await;

    let believed = format!("{}{}", first.pem, second.pem);
    let shown = first.issue(&["till.example"]);
    let shown = (shown.certificate, shown.key);
    let kept = Clients::over(channel(&address, &believed, &shown).await.unwrap());
    let product_id = kept.create_product("Shoe", 1000, 1_000_000).await.product_id;
    let callers = (0..8).map(|number| {
        let (kept, address, believed, shown) = (kept.clone(), address.clone(), believed.clone(), shown.clone());
        move || {
            let (kept, address, believed, shown) = (kept.clone(), address.clone(), believed.clone(), shown.clone());
            async move {
                let clients = match number % 2 {
                    0 => kept,
                    _ => Clients::over(channel(&address, &believed, &shown).await?),
                };
                clients.hold(product_id, 1).await.map(drop).map_err(|status| format!("{status:?}"))
            }
        }
    });
    let load = Load::start(callers);
    for renewal in 0..RENEWALS {
        load.wait_for(100).await;
        let by = if renewal % 2 == 0 { &second } else { &first };
        renew(&process, &folder, &by.issue(&["localhost"])).await;
    }
    load.wait_for(100).await;
    load.finish(0).await.assert_nothing_lost();

    // The last one was by the second authority, and nobody else vouches for it.
    assert!(channel(&address, &first.pem, &shown).await.is_err());
    channel(&address, &second.pem, &shown).await.unwrap();
    drop(kept);
    process.terminate();
    assert_eq!(process.wait_exit(STOP_LIMIT).await, 0);
    database.assert_conserved().await;
}

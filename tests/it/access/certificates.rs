//! Who is known by a certificate: by its subject alternative names, and by nothing else of it.

use std::{fs, time::Duration};

use flashsale::pb::{GetSaleStatsRequest, admin_service_client::AdminServiceClient};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, string::Ia5String};
use tonic::{
    Code, Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{bearer, line, token};
use crate::support::{
    process::{Process, Program},
    programs::STOP_LIMIT,
    signal, wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Signs certificates.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Signs a certificate with a common name and these alternative names, and returns it with its key.
    fn sign(&self, common_name: &str, names: Vec<SanType>) -> [String; 2] {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        [params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem()]
    }
}

fn text(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(text(name))
}

/// Runs a server with TLS and without a database: whoever is let in is told so.
struct Server {
    process: Process,
    address: String,
    folder: tempfile::TempDir,
    signer: Signer,
}

impl Server {
    async fn start(principals: &str) -> Self {
        let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new());
        let [certificate, key] = signer.sign("server", vec![dns("localhost")]);
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let settings = [
            ("DATABASE_URL", "mysql://root@127.0.0.1:1/sale".to_owned()),
            ("FLASHSALE_LISTEN", "127.0.0.1:0".to_owned()),
            ("FLASHSALE_METRICS_LISTEN", "127.0.0.1:0".to_owned()),
            ("FLASHSALE_TLS_CERT", write("cert.pem", &certificate)),
            ("FLASHSALE_TLS_KEY", write("key.pem", &key)),
            ("FLASHSALE_TLS_CLIENT_CA", write("clients.pem", &signer.pem)),
            ("FLASHSALE_PRINCIPALS_FILE", write("principals", principals)),
        ];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        let process = Process::spawn(Program::Server, &[], &settings);
        let address = process.address(LIMIT).await;
        Self { process, address, folder, signer }
    }

    /// Connects, and shows a certificate where there is one.
    async fn connect(&self, shown: Option<&[String; 2]>) -> AdminServiceClient<Channel> {
        let ca = Certificate::from_pem(&self.signer.pem);
        let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
        if let Some([certificate, key]) = shown {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        AdminServiceClient::new(endpoint.tls_config(tls).unwrap().connect().await.unwrap())
    }

    /// Calls with a certificate of these names.
    async fn called_by(&self, common_name: &str, names: Vec<SanType>, token: Option<&str>) -> Code {
        let shown = self.signer.sign(common_name, names);
        call(&self.connect(Some(&shown)).await, token).await
    }

    async fn stop(mut self) {
        self.process.terminate();
        assert_eq!(self.process.wait_exit(STOP_LIMIT).await, 0);
    }
}

async fn call(client: &AdminServiceClient<Channel>, token: Option<&str>) -> Code {
    let mut request = Request::new(GetSaleStatsRequest { product_id: 1 });
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", bearer(token).parse().unwrap());
    }
    client.clone().get_sale_stats(request).await.unwrap_err().code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_known_by_an_alternative_name_and_never_by_its_common_name() {
    let file = "anna san:dns:anna.example operator\nops san:uri:spiffe://shop/ops operator\n";
    let server = Server::start(&(file.to_owned() + &line("bert", "operator"))).await;
    let ops = || SanType::URI(text("spiffe://shop/ops"));
    for (common_name, names, code) in [
        ("eve", vec![dns("anna.example")], Code::Unavailable),
        ("eve", vec![dns("eve.example"), dns("ANNA.example")], Code::Unavailable),
        ("eve", vec![ops()], Code::Unavailable),
        ("anna.example", vec![dns("eve.example")], Code::Unauthenticated),
        ("anna.example", vec![], Code::Unauthenticated),
        ("spiffe://shop/ops", vec![dns("eve.example")], Code::Unauthenticated),
        ("eve", vec![SanType::Rfc822Name(text("anna.example"))], Code::Unauthenticated),
        ("eve", vec![SanType::URI(text("dns:anna.example"))], Code::Unauthenticated),
        ("eve", vec![dns("anna.example"), ops()], Code::Unauthenticated),
    ] {
        let what = format!("{common_name} {names:?}");
        assert_eq!(server.called_by(common_name, names, None).await, code, "{what}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_decides_over_tls_whatever_certificate_there_is() {
    let file =
        "proxy san:dns:proxy.example operator\n".to_owned() + &line("bert", "operator") + &line("shop", "checkout");
    let server = Server::start(&file).await;
    let proxy = || vec![dns("proxy.example")];
    assert_eq!(server.called_by("proxy", proxy(), None).await, Code::Unavailable);
    assert_eq!(server.called_by("proxy", proxy(), Some(&token("eve"))).await, Code::Unauthenticated);
    assert_eq!(server.called_by("proxy", proxy(), Some(&token("shop"))).await, Code::PermissionDenied);
    assert_eq!(call(&server.connect(None).await, Some(&token("bert"))).await, Code::Unavailable);
    assert_eq!(call(&server.connect(None).await, None).await, Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_taken_out_of_the_file_is_out_on_its_open_connection() {
    let bert = line("bert", "operator");
    let server = Server::start(&format!("anna san:dns:anna.example operator\n{bert}")).await;
    let client = server.connect(Some(&server.signer.sign("anna", vec![dns("anna.example")]))).await;
    assert_eq!(call(&client, None).await, Code::Unavailable);
    fs::write(server.folder.path().join("principals"), bert).unwrap();
    assert!(signal::send(server.process.pid(), "HUP"));
    let read = "Credentials read anew";
    wait::eventually(LIMIT, read, async || !server.process.lines_of(read).is_empty()).await;
    assert_eq!(call(&client, None).await, Code::Unauthenticated);
    drop(client);
    server.stop().await;
}

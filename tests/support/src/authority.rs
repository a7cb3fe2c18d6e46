//! Makes certificates for tests, with keys on the curve P-256.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Signs certificates, and is believed where its own certificate is given.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's own certificate, in PEM.
    pub pem: String,
}

/// Holds a certificate and its key, in PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key, by PKCS#8.
    pub key: String,
}

impl Authority {
    /// Makes an authority that nobody knows yet.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Signs a certificate for these names or IP addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, None)
    }

    /// Signs a certificate that is no longer valid after a moment.
    pub fn issue_until(&self, names: &[&str], end: Option<SystemTime>) -> Issued {
        let mut params = certificate(names, "a common name means nothing");
        if let Some(end) = end {
            params.not_after = end.into();
        }
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Signs a certificate for a key that is there, with this common name. Returns it in PEM.
    pub fn sign(&self, names: &[&str], common_name: &str, key: &KeyPair) -> String {
        certificate(names, common_name).signed_by(key, &self.issuer).unwrap().pem()
    }
}

fn certificate(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Writes a file into a folder, and returns its path.
pub fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Holds the files of a listener's TLS, whose texts may be replaced.
pub struct TlsFolder(tempfile::TempDir);

impl TlsFolder {
    /// Writes a certificate and its key.
    pub fn new(shown: &Issued) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.show(shown);
        folder
    }

    /// Replaces the certificate and the key.
    pub fn show(&self, shown: &Issued) {
        self.write("cert.pem", &shown.certificate);
        self.write("key.pem", &shown.key);
    }

    /// Replaces one file as programs do it that renew certificates: nobody sees half of it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (self.0.path().join("new"), self.path(name));
        fs::write(&new, text).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// Returns the path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }

    /// Returns the settings that name the files, with that of the clients' authorities where there is one.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let names = [
            ("FLASHSALE_TLS_CERT", "cert.pem"),
            ("FLASHSALE_TLS_KEY", "key.pem"),
            ("FLASHSALE_TLS_CLIENT_CA", "clients.pem"),
        ];
        let path = |(setting, name): (&'static str, &str)| (setting, self.path(name).to_str().unwrap().to_owned());
        names.into_iter().filter(|(_, name)| self.path(name).exists()).map(path).collect()
    }
}

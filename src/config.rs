//! stub
pub struct DatabaseConfig { pub url: secrecy::SecretString, pub pool_size: usize }

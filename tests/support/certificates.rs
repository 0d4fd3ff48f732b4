//! Certificates for tests: an authority, and what it signs.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::Site;

/// An authority that nobody but a test trusts.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority; its certificate is written to `NAME.pem`.
    pub fn new(site: &Site, name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"));
        site.write(&format!("{name}.pem"), authority.0.pem());
        authority
    }

    /// Signs a certificate for these hosts, whose subject is `NAME`; it is written to `NAME.pem` and its
    /// key to `NAME.key`.
    pub fn sign(&self, site: &Site, name: &str, hosts: &[&str]) {
        self.sign_until(site, name, hosts, 2100);
    }

    /// The same, good until the beginning of a year.
    pub fn sign_until(&self, site: &Site, name: &str, hosts: &[&str], year: i32) {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(hosts, name);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        site.write(&format!("{name}.pem"), certificate.pem());
        site.write_private(&format!("{name}.key"), key.serialize_pem());
    }
}

fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("host names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

//! Certificates whose time is over, or has not come.

use super::report::{Words, words};
use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// What is to be said about the time of a certificate in this file; both ends belong to it (RFC 5280 section 4.1.2.5). `None`:
/// it is now, or cannot be read.
pub(super) fn untimely(certificate: &CertificateDer<'_>, now: Timestamp, file: &str) -> Option<Words> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let validity = read.validity();
    let end = |seconds| Timestamp::from_second(seconds).ok();
    let (first, last) = (end(validity.not_before.timestamp())?, end(validity.not_after.timestamp())?);
    let subject = read.subject();
    let reason = "clients refuse it, and `sipsteer --api` is one of them";
    if now.as_second() > last.as_second() {
        let message = format!("the certificate of {subject} in {file} expired on {last}");
        return Some(words(message, reason, "put a new one there, and its key, then `sipsteer reload`"));
    }
    if now.as_second() < first.as_second() {
        let message = format!("the certificate of {subject} in {file} is not valid before {first}");
        let remedy =
            format!("compare that with the time of this host, {now:.0}, or put one there that is valid");
        return Some(words(message, reason, remedy));
    }
    None
}

/// The last moment at which a whole chain is valid; `None`: it cannot be read.
pub(super) fn expires(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let last = chain.iter().filter_map(|one| {
        let (_, read) = X509Certificate::from_der(one).ok()?;
        Timestamp::from_second(read.validity().not_after.timestamp()).ok()
    });
    last.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    #[test]
    fn a_chain_is_valid_as_long_as_its_weakest_link() {
        let until = |year| {
            let mut params = CertificateParams::new(["lb1.example.com".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 3, 1);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let said = |years: &[i32]| expires(&years.iter().map(|year| until(*year)).collect::<Vec<_>>());
        assert_eq!(said(&[2031, 2029, 2030]), Some("2029-03-01T00:00:00Z".parse().unwrap()));
        assert_eq!(said(&[]), None);
        assert_eq!(expires(&[CertificateDer::from(vec![0x30])]), None);
    }

    #[test]
    fn both_ends_belong_to_the_time_of_a_certificate() {
        let mut params = CertificateParams::new(["lb1.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "lb1");
        (params.not_before, params.not_after) = (date_time_ymd(2026, 3, 1), date_time_ymd(2027, 3, 1));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let said = |now: &str| {
            let words = untimely(certificate.der(), now.parse().unwrap(), "\"api.pem\"")?;
            Some(format!("{}; {}", words.message, words.remedy))
        };
        assert_eq!(said("2026-03-01T00:00:00Z"), None);
        assert_eq!(said("2027-03-01T00:00:00.5Z"), None);
        let early = said("2026-02-28T23:59:59Z").unwrap();
        assert!(early.contains("CN=lb1 in \"api.pem\" is not valid before 2026-03-01T00:00:00Z"), "{early}");
        assert!(early.contains("the time of this host, 2026-02-28T23:59:59Z"), "{early}");
        let late = said("2027-03-01T00:00:01Z").unwrap();
        assert!(late.contains("CN=lb1 in \"api.pem\" expired on 2027-03-01T00:00:00Z"), "{late}");
        assert!(untimely(&CertificateDer::from(vec![0x30]), Timestamp::UNIX_EPOCH, "f").is_none());
    }
}

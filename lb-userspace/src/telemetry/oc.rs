//! Overload feedback in the topmost Via of an answer: `oc`, `oc-algo`, `oc-validity` and `oc-seq` (RFC 7339, RFC 7415).

use super::number::{decimal, shown};
use crate::{config::Algorithm, core::report::Report};
use std::time::Duration;

/// How long feedback holds that does not say so (RFC 7339 section 4.3).
const USUAL_VALIDITY: Duration = Duration::from_millis(500);
/// Longest that is believed.
const LONGEST_VALIDITY: Duration = Duration::from_secs(3600);

/// Feedback of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feedback {
    /// It asks for less, for so long.
    Less(Report, Duration),
    /// It is no longer overloaded (RFC 7339 section 4.3: a validity of 0).
    Enough,
}

/// Feedback of one server, answer after answer.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// The last `oc-seq`.
    last: Option<(u64, u64)>,
}

impl Listener {
    /// Reads the value of the topmost Via of an answer to one of our own requests, which offered these algorithms. `None`: it
    /// holds nothing new.
    ///
    /// # Errors
    /// When the parameters make no sense; then they are to be passed over.
    pub fn read(&mut self, via: &str, offered: &[Algorithm]) -> Result<Option<Feedback>, String> {
        let parameters = Parameters::of(via)?;
        // Without `oc` the rest is to be discarded (RFC 7339 section 4.3), but for the validity of 0, which ends it.
        let validity = parameters.validity()?;
        let stops = validity == Some(Duration::ZERO);
        let Some(oc) = parameters.oc.filter(|oc| !oc.is_empty()).or(stops.then_some("0")) else {
            return Ok(None);
        };
        let sequence = parameters.sequence()?;
        if self.last.is_some_and(|last| sequence <= last) {
            return Ok(None);
        }
        let amount = decimal(oc).map_err(|why| format!("oc: {why}"))?;
        let report = match parameters.algorithm(offered)? {
            Algorithm::Loss if amount <= 100.0 => {
                Report { share: Some(1.0 - amount / 100.0), ..Report::default() }
            }
            Algorithm::Loss => return Err(format!("oc: a loss of {amount} % is more than all")),
            Algorithm::Rate => Report { max_cps: Some(amount.floor() as u32), ..Report::default() },
        };
        self.last = Some(sequence);
        Ok(Some(match validity.unwrap_or(USUAL_VALIDITY) {
            Duration::ZERO => Feedback::Enough,
            validity => Feedback::Less(report, validity.min(LONGEST_VALIDITY)),
        }))
    }
}

/// The parameters of a Via as they are written.
#[derive(Default)]
struct Parameters<'v> {
    oc: Option<&'v str>,
    algorithm: Option<&'v str>,
    validity: Option<&'v str>,
    sequence: Option<&'v str>,
}

impl<'v> Parameters<'v> {
    fn of(via: &'v str) -> Result<Parameters<'v>, String> {
        let mut parameters = Parameters::default();
        // The first of several Via values in one header field is the topmost (RFC 3261 section 7.3.1).
        for parameter in parts(via).into_iter().skip(1) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim();
            let place = match name.trim() {
                name if name.eq_ignore_ascii_case("oc") => &mut parameters.oc,
                name if name.eq_ignore_ascii_case("oc-algo") => &mut parameters.algorithm,
                name if name.eq_ignore_ascii_case("oc-validity") => &mut parameters.validity,
                name if name.eq_ignore_ascii_case("oc-seq") => &mut parameters.sequence,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(format!("{} stands twice", shown(name)));
            }
        }
        Ok(parameters)
    }

    /// The one that the server has chosen of those offered (RFC 7339 section 4.2): `loss`, which everybody understands, if it
    /// does not say. A list is what we sent, and says not what its number means.
    fn algorithm(&self, offered: &[Algorithm]) -> Result<Algorithm, String> {
        let word = self.algorithm.unwrap_or("loss").trim_matches('"').trim();
        if let Some(algorithm) = offered.iter().find(|algorithm| algorithm.word() == word) {
            return Ok(*algorithm);
        }
        let why = if word.contains(',') {
            "is a list, of which the server has to choose one"
        } else if Algorithm::ALL.iter().any(|algorithm| algorithm.word() == word) {
            "was not offered; `algorithms` in the configuration says what is"
        } else {
            "is not known"
        };
        Err(format!("oc-algo: {} {why}", shown(word)))
    }

    fn validity(&self) -> Result<Option<Duration>, String> {
        let Some(text) = self.validity else { return Ok(None) };
        let milliseconds = decimal(text).map_err(|why| format!("oc-validity: {why}"))?;
        Ok(Some(Duration::from_millis(milliseconds as u64)))
    }

    /// It must be there and must grow; the part behind the point is digits, not a fraction of some precision.
    fn sequence(&self) -> Result<(u64, u64), String> {
        let text = self.sequence.ok_or("there is no oc-seq")?;
        let wrong = || format!("oc-seq: {} is not of the form 1282321615.641", shown(text));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(whole, 12) || !digits(fraction, 5) {
            return Err(wrong());
        }
        let padded = format!("{fraction:0<5}");
        Ok((whole.parse().map_err(|_| wrong())?, padded.parse().map_err(|_| wrong())?))
    }
}

/// Pieces of the first value, between semicolons that stand outside of quotes.
fn parts(via: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    let mut escaped = false;
    for (at, c) in via.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&via[start..at]);
                start = at + 1;
            }
            ',' if !quoted => {
                parts.push(&via[start..at]);
                return parts;
            }
            _ => {}
        }
    }
    parts.push(&via[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VIA: &str = "SIP/2.0/UDP 192.0.2.5:5060;branch=z9hG4bK776";

    fn read(listener: &mut Listener, parameters: &str) -> Result<Option<Feedback>, String> {
        listener.read(&format!("{VIA}{parameters}"), &Algorithm::ALL)
    }

    fn once(parameters: &str) -> Result<Option<Feedback>, String> {
        read(&mut Listener::default(), parameters)
    }

    fn less(report: Report, milliseconds: u64) -> Result<Option<Feedback>, String> {
        Ok(Some(Feedback::Less(report, Duration::from_millis(milliseconds))))
    }

    #[test]
    fn the_examples_of_the_rfcs() {
        let share = |share| Report { share: Some(share), ..Report::default() };
        let rate = Report { max_cps: Some(150), ..Report::default() };
        assert_eq!(
            once(";oc=20;oc-algo=\"loss\";oc-validity=500;oc-seq=1282321615.782"),
            less(share(0.8), 500)
        );
        assert_eq!(once(";oc=150;oc-algo=\"rate\";oc-validity=1000;oc-seq=1282321615.782"), less(rate, 1000));
        assert_eq!(
            once(";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=1282321892.439"),
            Ok(Some(Feedback::Enough))
        );
        assert_eq!(once(";OC = 100 ;OC-SEQ=1.1"), less(share(0.0), 500), "half a second is usual");
        assert_eq!(once(";oc-validity=0;oc-seq=3.1"), Ok(Some(Feedback::Enough)));
    }

    #[test]
    fn what_a_server_only_echoes_says_nothing() {
        for parameters in ["", ";oc", ";oc;oc-algo=\"loss,rate\"", ";oc-validity=500;oc-seq=1.1"] {
            assert_eq!(once(parameters), Ok(None), "{parameters}");
        }
        // The second value is that of another hop.
        assert_eq!(once(", SIP/2.0/UDP 192.0.2.9;oc=50;oc-seq=1.1"), Ok(None));
        assert_eq!(once(";x=\";oc=50;oc-seq=1.1\""), Ok(None));
    }

    #[test]
    fn the_sequence_must_grow() {
        let mut listener = Listener::default();
        let mut fresh =
            |sequence: &str| read(&mut listener, &format!(";oc=20;oc-seq={sequence}")).unwrap().is_some();
        assert!(fresh("1282321615.64"));
        for old in ["1282321615.64", "1282321615.640", "1282321615.63999", "1282321614.9"] {
            assert!(!fresh(old), "{old}");
        }
        assert!(fresh("1282321615.641") && fresh("1282321616.0") && fresh("1282321617"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_does_not_count() {
        for (parameters, why) in [
            (";oc=20", "no oc-seq"),
            (";oc=101;oc-seq=1.1", "more than all"),
            (";oc=-1;oc-seq=1.1", "no number"),
            (";oc=20;oc-seq=x", "not of the form"),
            (";oc=20;oc-seq=1.123456", "not of the form"),
            (";oc=20;oc-seq=1.1;oc-validity=soon", "oc-validity"),
            (";oc=20;oc-algo=\"guess\";oc-seq=1.1", "\"guess\" is not known"),
            (";oc=20;oc-algo=\"loss,rate\";oc-seq=1.1", "\"loss,rate\" is a list"),
            (";oc=20;oc=30;oc-seq=1.1", "stands twice"),
        ] {
            let mut listener = Listener::default();
            let refused = read(&mut listener, parameters).unwrap_err();
            assert!(refused.contains(why), "{parameters}: {refused}");
            assert_eq!(listener.last, None);
        }
    }

    #[test]
    fn what_was_not_offered_cannot_be_chosen() {
        for (offered, parameters, refused) in [
            (&[Algorithm::Loss][..], ";oc=20;oc-algo=\"loss\";oc-seq=1.1", None),
            (&[Algorithm::Loss], ";oc=20;oc-algo=\"rate\";oc-seq=1.1", Some("\"rate\" was not offered")),
            (&[Algorithm::Loss, Algorithm::Rate], ";oc=20;oc-algo=\"rate\";oc-seq=1.1", None),
            (&[Algorithm::Loss, Algorithm::Rate], ";oc=20;oc-algo=\"loss\";oc-seq=1.1", None),
            (
                &[Algorithm::Loss, Algorithm::Rate],
                ";oc=20;oc-algo=\"guess\";oc-seq=1.1",
                Some("is not known"),
            ),
        ] {
            let mut listener = Listener::default();
            let said = listener.read(&format!("{VIA}{parameters}"), offered);
            match refused {
                Some(why) => assert!(said.unwrap_err().contains(why), "{parameters}"),
                None => assert!(said.unwrap().is_some(), "{parameters}"),
            }
            assert_eq!(listener.last.is_some(), refused.is_none(), "{parameters}");
        }
    }

    proptest! {
        #[test]
        fn any_via_is_read_or_refused(
            via in "\\PC{0,80}",
            parameters in "(;(oc|oc-seq|oc-algo|oc-validity)(=[0-9.\"a-z]{0,8})?){0,5}",
        ) {
            let _ = Listener::default().read(&via, &Algorithm::ALL);
            if let Ok(Some(Feedback::Less(report, validity))) = once(&parameters) {
                prop_assert!(report.share.is_none_or(|share| (0.0..=1.0).contains(&share)));
                prop_assert!(validity > Duration::ZERO && validity <= LONGEST_VALIDITY);
            }
        }
    }
}

//! The text that Prometheus scrapes: `name{label="value",...} value timestamp`, a series a line.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>. What follows the timestamp, as OpenMetrics allows, is not
//! looked at.

use super::number::shown;
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{is_not, tag, take_while, take_while1},
    character::complete::{char, space0, space1},
    combinator::{map, opt, recognize, value},
    multi::{fold_many0, separated_list0},
    sequence::{delimited, pair, preceded, separated_pair, terminated},
};

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name of the metric.
    pub name: String,
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
    /// Its value; any float.
    pub value: f64,
    /// When that was true, in milliseconds since 1970; `None`: now.
    pub timestamp: Option<i64>,
}

/// The series of a text whose names are `wanted`.
///
/// # Errors
/// The first line that is none, and why: a page of something else must not look like a source without news.
pub fn parse(text: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Series>, String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (_, series) = series(line).map_err(|_| format!("line {number} is no metric: {}", shown(line)))?;
        if wanted(&series.name) {
            found.push(series);
        }
    }
    Ok(found)
}

fn series(line: &str) -> IResult<&str, Series> {
    let (rest, (name, labels, value, timestamp)) = (
        name,
        map(opt(labels), Option::unwrap_or_default),
        preceded(space1, float).or(float),
        opt(preceded(space1, nom::character::complete::i64)),
    )
        .parse(line)?;
    let ends = rest.is_empty() || rest.starts_with(' ') || rest.starts_with('\t');
    if !ends {
        return Err(nom::Err::Error(nom::error::Error::new(rest, nom::error::ErrorKind::Eof)));
    }
    Ok((rest, Series { name: name.to_owned(), labels, value, timestamp }))
}

/// A metric's name.
pub(super) fn name(text: &str) -> IResult<&str, &str> {
    word(text, ":")
}

/// A label's name.
pub(super) fn label(text: &str) -> IResult<&str, &str> {
    word(text, "")
}

fn word<'t>(text: &'t str, more: &str) -> IResult<&'t str, &'t str> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || more.contains(c);
    let further = |c: char| first(c) || c.is_ascii_digit();
    recognize(pair(take_while1(first), take_while(further))).parse(text)
}

fn labels(text: &str) -> IResult<&str, Vec<(String, String)>> {
    let pair = separated_pair(map(label, str::to_owned), delimited(space0, char('='), space0), quoted);
    let comma = delimited(space0, char(','), space0);
    delimited(
        pair_open,
        terminated(separated_list0(comma, pair), opt(delimited(space0, char(','), space0))),
        preceded(space0, char('}')),
    )
    .parse(text)
}

fn pair_open(text: &str) -> IResult<&str, char> {
    delimited(space0, char('{'), space0).parse(text)
}

/// A value in double quotes, in which a backslash escapes itself, a quote and `n`.
pub(super) fn quoted(text: &str) -> IResult<&str, String> {
    let escaped = preceded(
        char('\\'),
        alt((value("\\", char('\\')), value("\"", char('"')), value("\n", char('n')), tag(""))),
    );
    let piece = alt((is_not("\\\""), escaped));
    let pieces = fold_many0(piece, String::new, |mut text, piece: &str| {
        text.push_str(piece);
        text
    });
    delimited(char('"'), pieces, char('"')).parse(text)
}

fn float(text: &str) -> IResult<&str, f64> {
    let (rest, word) = is_not(" \t").parse(text)?;
    match word.parse() {
        Ok(number) => Ok((rest, number)),
        Err(_) => Err(nom::Err::Error(nom::error::Error::new(text, nom::error::ErrorKind::Float))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Vec<Series> {
        parse(text, |_| true).unwrap()
    }

    #[test]
    fn every_form_of_a_line_is_read() {
        let text = "# HELP calls Calls.\r\n# TYPE calls gauge\n\nplain 3\nstamped 4 1795624964472\n\
                    labelled{host=\"a b\",path=\"c:\\\\d\\\"\\n\",} 1.5e3 -1\nempty{} +Inf\nspaced { a = \"x\" , b=\"\" }  NaN\n\
                    exemplar_total 7 # {trace=\"1\"} 0.5\n# EOF\n";
        let read = all(text);
        let names: Vec<&str> = read.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["plain", "stamped", "labelled", "empty", "spaced", "exemplar_total"]);
        assert_eq!((read[0].value, read[0].timestamp), (3.0, None));
        assert_eq!((read[1].value, read[1].timestamp), (4.0, Some(1_795_624_964_472)));
        let labels = [("host".to_owned(), "a b".to_owned()), ("path".to_owned(), "c:\\d\"\n".to_owned())];
        assert_eq!((read[2].labels.as_slice(), read[2].value), (labels.as_slice(), 1500.0));
        assert_eq!(read[3].value, f64::INFINITY);
        assert!(read[4].value.is_nan() && read[4].labels.len() == 2);
        assert_eq!(read[5].value, 7.0);
        assert_eq!(parse(text, |name| name == "plain").unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_metric_is_told_with_its_line() {
        for (text, line) in [
            ("<html>", 1),
            ("a 1\nb", 2),
            ("a 1\n\n{} 2", 3),
            ("a{b=\"c\" 1", 1),
            ("a{b=c} 1", 1),
            ("a one", 1),
            ("1a 1", 1),
            ("a 1x", 1),
            ("a{b=\"c} 1", 1),
        ] {
            let why = parse(text, |_| true).unwrap_err();
            assert!(why.starts_with(&format!("line {line} is no metric")), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text, |_| true);
            let _ = parse(&String::from_utf8_lossy(&bytes), |_| true);
        }

        #[test]
        fn what_was_written_comes_back(name in "[a-z_:][a-z0-9_:]{0,9}", value in any::<f64>(), label in "\\PC{0,20}") {
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"");
            let read = all(&format!("{name}{{l=\"{escaped}\"}} {value}"));
            prop_assert_eq!(&read[0].name, &name);
            prop_assert_eq!(&read[0].labels[0].1, &label);
            prop_assert!(read[0].value == value || value.is_nan() && read[0].value.is_nan());
        }
    }
}

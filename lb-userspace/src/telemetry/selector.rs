//! Which series a figure of a report comes from, as people write it: the names are those of PromQL.
//!
//! * `name`, `name{label="value",other!="value"}`: the first such series.
//! * `sum(...)`: all of them together. * `rate(...)`: how much their sum grows in a second.
//! * `percent(...)`: a hundredth of the sum. * `idle_percent(...)`: what is missing there to the whole.

use super::{
    exposition::{self, Series},
    number::shown,
};
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while1},
    character::complete::{char, space0},
    combinator::{map, opt, value},
    multi::separated_list0,
    sequence::{delimited, terminated},
};
use std::{fmt, str::FromStr};

/// What is made of the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The first one.
    First,
    /// All together.
    Sum,
    /// How much all together grow in a second.
    Rate,
    /// A hundredth of all together.
    Percent,
    /// What a hundredth of all together leaves of the whole.
    IdlePercent,
}

/// A label that must, or must not, have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Matcher {
    label: String,
    equal: bool,
    value: String,
}

/// Where a figure comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// What is made of the series.
    pub function: Function,
    /// Name of the metric.
    pub metric: String,
    matchers: Vec<Matcher>,
    /// As it was written.
    text: String,
}

impl Selector {
    /// The number that these series give, before a rate is made of it; `None`: none of them is meant.
    pub fn number(&self, series: &[Series]) -> Option<f64> {
        let mut meant = series.iter().filter(|s| self.means(s)).map(|s| s.value).peekable();
        meant.peek()?;
        Some(match self.function {
            Function::First => meant.next()?,
            Function::Sum | Function::Rate => meant.sum(),
            Function::Percent => meant.sum::<f64>() / 100.0,
            Function::IdlePercent => 1.0 - meant.sum::<f64>() / 100.0,
        })
    }

    /// The newest moment that these series say they are of.
    pub fn timestamp(&self, series: &[Series]) -> Option<i64> {
        series.iter().filter(|s| self.means(s)).filter_map(|s| s.timestamp).max()
    }

    /// A label that is not there is empty, as in PromQL.
    fn means(&self, series: &Series) -> bool {
        let of = |label: &str| {
            series.labels.iter().find(|(name, _)| name == label).map_or("", |(_, value)| value.as_str())
        };
        series.name == self.metric
            && self.matchers.iter().all(|matcher| (of(&matcher.label) == matcher.value) == matcher.equal)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        match delimited(space0, selector, space0).parse(text) {
            Ok(("", (function, metric, matchers))) => {
                Ok(Selector { function, metric: metric.to_owned(), matchers, text: text.trim().to_owned() })
            }
            Ok((rest, _)) | Err(nom::Err::Error(nom::error::Error { input: rest, .. })) => {
                Err(format!("it makes no sense from {} on", shown(rest)))
            }
            Err(_) => Err("it makes no sense".to_owned()),
        }
    }
}

type Parts<'t> = (Function, &'t str, Vec<Matcher>);

fn selector(text: &str) -> IResult<&str, Parts<'_>> {
    let called = |text| {
        let (rest, function) = terminated(function, (space0, char('('), space0)).parse(text)?;
        let (rest, (metric, matchers)) = terminated(plain, (space0, char(')'))).parse(rest)?;
        Ok((rest, (function, metric, matchers)))
    };
    alt((called, map(plain, |(metric, matchers)| (Function::First, metric, matchers)))).parse(text)
}

fn function(text: &str) -> IResult<&str, Function> {
    let (rest, word) = take_while1(|c: char| c.is_ascii_lowercase() || c == '_').parse(text)?;
    let function = match word {
        "sum" => Function::Sum,
        "rate" => Function::Rate,
        "percent" => Function::Percent,
        "idle_percent" => Function::IdlePercent,
        _ => return Err(nom::Err::Error(nom::error::Error::new(text, nom::error::ErrorKind::Tag))),
    };
    Ok((rest, function))
}

fn plain(text: &str) -> IResult<&str, (&str, Vec<Matcher>)> {
    let equal = alt((value(false, tag("!=")), value(true, tag("="))));
    let matcher = map(
        (exposition::label, delimited(space0, equal, space0), exposition::quoted),
        |(label, equal, value)| Matcher { label: label.to_owned(), equal, value },
    );
    let comma = delimited(space0, char(','), space0);
    let all = delimited((char('{'), space0), separated_list0(comma, matcher), (space0, char('}')));
    (exposition::name, map(opt(all), Option::unwrap_or_default)).parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(text: &str) -> Vec<Series> {
        exposition::parse(text, |_| true).unwrap()
    }

    fn number(selector: &str, text: &str) -> Option<f64> {
        selector.parse::<Selector>().unwrap().number(&series(text))
    }

    #[test]
    fn figures_come_from_the_series_that_are_meant() {
        let text = "a{k=\"x\"} 1\na{k=\"y\"} 2\na 4\nb 50\n";
        for (selector, figure) in [
            ("a", 1.0),
            ("a{k=\"y\"}", 2.0),
            ("a{k=\"\"}", 4.0),
            ("a{k!=\"x\"}", 2.0),
            ("sum(a)", 7.0),
            (" sum( a{ k != \"\" } ) ", 3.0),
            ("rate(a)", 7.0),
            ("percent(b)", 0.5),
            ("idle_percent(b)", 0.5),
        ] {
            assert_eq!(number(selector, text), Some(figure), "{selector}");
        }
        assert_eq!(number("c", text), None);
        assert_eq!(number("a{k=\"z\"}", text), None);
    }

    #[test]
    fn what_is_no_selector_says_from_where() {
        for (text, from) in [
            ("", "\"\""),
            ("sum(a", "\"(a\""),
            ("a b", "\"b\""),
            ("max(a)", "\"(a)\""),
            ("a{k=x}", "\"{k=x}\""),
            ("9", "\"9\""),
        ] {
            let why = text.parse::<Selector>().unwrap_err();
            assert!(why.contains(from), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_none(text in "[a-z_(){}=!\",0-9 \\PC]{0,40}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(&selector.to_string().parse::<Selector>().unwrap(), &selector);
            }
        }
    }
}

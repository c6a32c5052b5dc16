//! A URL in parts: [`Parts`].

use crate::OpenError;

/// `SCHEME:REST?PARAMETERS`, of which `relaxed` is the same for all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) rest: &'a str,
    pub(crate) relaxed: bool,
    /// The other parameters.
    pub(crate) others: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(url: &'a str) -> Result<Self, OpenError> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(OpenError::malformed(url, "it does not begin with a scheme"));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = Self {
            scheme,
            rest,
            relaxed: false,
            others: Vec::new(),
        };
        for parameter in query.split('&').filter(|one| !one.is_empty()) {
            match parameter {
                "relaxed" | "relaxed=true" => parts.relaxed = true,
                "relaxed=false" => parts.relaxed = false,
                _ if parameter.starts_with("relaxed=") => {
                    let why = "`relaxed` is `true` or `false`";
                    return Err(OpenError::malformed(url, why));
                }
                other => parts.others.push(other),
            }
        }
        Ok(parts)
    }

    /// As a URL again, for engines that read the rest themselves.
    #[cfg(feature = "postgres")]
    pub(crate) fn without_relaxed(&self) -> String {
        let mut url = format!("{}:{}", self.scheme, self.rest);
        if !self.others.is_empty() {
            url.push('?');
            url += &self.others.join("&");
        }
        url
    }
}

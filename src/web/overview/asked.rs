//! Which recipes the overview shows and in which order, as its address says it.

use std::fmt::Write as _;

use serde::Deserialize;

use super::super::answer::Wrong;
use super::super::links;
use super::Recipe;
use crate::model::Outcome;

/// The parameters as they come.
#[derive(Deserialize)]
pub(in super::super) struct Query {
    show: Option<String>,
    sort: Option<String>,
    order: Option<String>,
    find: Option<String>,
    after: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Asked {
    pub show: Show,
    pub sort: Sort,
    /// The other way round than the order begins with.
    pub turned: bool,
    /// In lower case.
    pub find: Option<String>,
    /// The row before the first one.
    pub after: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Show {
    #[default]
    All,
    Failing,
    Passing,
    Flaky,
    Untested,
    NotEnrolled,
}

impl Show {
    pub(super) const ALL: [Show; 6] =
        [Show::All, Show::Failing, Show::Passing, Show::Flaky, Show::Untested, Show::NotEnrolled];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Show::All => "all",
            Show::Failing => "failing",
            Show::Passing => "passing",
            Show::Flaky => "flaky",
            Show::Untested => "untested",
            Show::NotEnrolled => "not-enrolled",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Show::Untested => "never tested",
            Show::NotEnrolled => "not enrolled",
            other => other.as_str(),
        }
    }

    pub(super) fn has(self, recipe: &Recipe) -> bool {
        let last = recipe.verdict().and_then(|last| last.outcome);
        match self {
            Show::All | Show::NotEnrolled => true,
            Show::Failing => matches!(last, Some(Outcome::Failed | Outcome::TimedOut)),
            Show::Passing => last == Some(Outcome::Passed),
            Show::Flaky => recipe.is_flaky(),
            Show::Untested => last.is_none(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Sort {
    #[default]
    Name,
    Level,
    Verdict,
    Median,
}

impl Sort {
    const ALL: [Sort; 4] = [Sort::Name, Sort::Level, Sort::Verdict, Sort::Median];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Level => "level",
            Sort::Verdict => "verdict",
            Sort::Median => "median",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Sort::Name => "Recipe",
            Sort::Level => "Level",
            Sort::Verdict => "Last verdict",
            Sort::Median => "Median",
        }
    }

    /// Names and levels begin with the least, moments and spans with the largest.
    pub(super) fn begins_downwards(self) -> bool {
        matches!(self, Sort::Verdict | Sort::Median)
    }
}

impl Asked {
    pub(in super::super) fn parse(query: Query) -> Result<Asked, Wrong> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let show = match given(query.show) {
            None => Show::All,
            Some(text) => Show::ALL.into_iter().find(|show| show.as_str() == text).ok_or_else(|| {
                Wrong::parameter("show", format!("is one of: {}, not `{text}`", Show::ALL.map(Show::as_str).join(" ")))
            })?,
        };
        let sort = match given(query.sort) {
            None => Sort::Name,
            Some(text) => Sort::ALL.into_iter().find(|sort| sort.as_str() == text).ok_or_else(|| {
                Wrong::parameter("sort", format!("is one of: {}, not `{text}`", Sort::ALL.map(Sort::as_str).join(" ")))
            })?,
        };
        let turned = match given(query.order).as_deref() {
            None => false,
            Some("turned") => true,
            Some(text) => return Err(Wrong::parameter("order", format!("is `turned` or nothing, not `{text}`"))),
        };
        let find = given(query.find).map(|find| find.trim().to_lowercase());
        let after = given(query.after);
        for (name, text) in [("find", &find), ("after", &after)] {
            if text.as_ref().is_some_and(|text| text.len() > 100) {
                return Err(Wrong::parameter(name, "is the name of a recipe, which this is too long for"));
            }
        }
        Ok(Asked { show, sort, turned, find, after })
    }

    pub(in super::super) fn address(&self) -> String {
        let mut address = String::from("/");
        let mut next = '?';
        let mut add = |name: &str, value: &str| {
            let _ = write!(address, "{next}{name}={}", links::encode(value));
            next = '&';
        };
        if self.show != Show::All {
            add("show", self.show.as_str());
        }
        if self.sort != Sort::Name {
            add("sort", self.sort.as_str());
        }
        if self.turned {
            add("order", "turned");
        }
        if let Some(find) = &self.find {
            add("find", find);
        }
        if let Some(after) = &self.after {
            add("after", after);
        }
        address
    }

    pub(super) fn with_show(&self, show: Show) -> Asked {
        Asked { show, after: None, ..self.clone() }
    }

    /// From the start; the column that orders already turns it round.
    pub(super) fn with_sort(&self, sort: Sort) -> Asked {
        Asked { sort, turned: self.sort == sort && !self.turned, after: None, ..self.clone() }
    }

    pub(super) fn with_after(&self, after: Option<String>) -> Asked {
        Asked { after, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_has_one_address() {
        assert_eq!(Asked::default().address(), "/");
        let view = Asked {
            show: Show::Failing,
            sort: Sort::Level,
            turned: true,
            find: Some("a b".into()),
            after: Some("x/y".into()),
        };
        assert_eq!(view.address(), "/?show=failing&sort=level&order=turned&find=a%20b&after=x%2Fy");
        assert_eq!(view.with_sort(Sort::Level).with_show(Show::All).address(), "/?sort=level&find=a%20b");
        assert_eq!(Asked::default().with_sort(Sort::Median).address(), "/?sort=median");
    }
}

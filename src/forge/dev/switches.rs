//! Everything that forges do and clients do not expect, each to be switched on by itself.
//!
//! A *switch* changes how the forge answers as long as it is on. A *fault* hits chosen requests, a number of times or until
//! it is taken away. `docs/dev-forge.md` lists both for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Switches {
    /// What `/version` says.
    pub(super) version: String,
    /// Repository comments page only when a page is asked for, and give everything otherwise.
    pub(super) forgejo_paging: bool,
    /// Every page of repository comments is the first.
    pub(super) same_page: bool,
    pub(super) max_response_items: usize,
    pub(super) default_paging_num: usize,
    pub(super) search: Search,
    pub(super) total_count: TotalCount,
    /// A `null` before every item of every list.
    pub(super) null_items: bool,
    /// Lists of an empty repository are 404 with `[]`.
    pub(super) empty_is_404: bool,
    /// Membership answers this redirect to everybody: 303 or 302.
    pub(super) membership: Option<u16>,
    /// Reactions are 403.
    pub(super) no_reactions: bool,
    /// The server's clock is ahead by so many seconds, or behind.
    pub(super) skew_s: i64,
    /// Times are written in this zone.
    pub(super) zone_minutes: i64,
    pub(super) push_entries: PushEntries,
    /// The address the forge believes it has, for links; its own where there is none.
    pub(super) root_url: Option<String>,
    /// Everything but `/_dev` lives below this path: `/git`.
    pub(super) sub_path: String,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            version: "1.26.0".into(),
            forgejo_paging: false,
            same_page: false,
            max_response_items: 50,
            default_paging_num: 30,
            search: Search::Works,
            total_count: TotalCount::Right,
            null_items: false,
            empty_is_404: false,
            membership: None,
            no_reactions: false,
            skew_s: 0,
            zone_minutes: 0,
            push_entries: PushEntries::Now,
            root_url: None,
            sub_path: String::new(),
        }
    }
}

/// How `/repos/issues/search` behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Search {
    Works,
    /// Shows the world as it was when this was switched on.
    Lags,
    IgnoresSince,
    #[serde(rename = "404")]
    Missing,
    #[serde(rename = "400")]
    Refuses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TotalCount {
    Right,
    TooHigh,
    Missing,
}

/// When a push shows in the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PushEntries {
    Now,
    /// When this is switched back to `now`.
    Held,
    /// Then too, and each names the head of that time.
    HeldThenLatest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// Any method where there is none.
    #[serde(default)]
    method: Option<String>,
    /// Part of path and query; any where there is none.
    #[serde(default)]
    path: Option<String>,
    /// Requests that go through before the first that is hit.
    #[serde(default)]
    skip: u64,
    /// Requests it hits; without a number, all until it is taken away.
    #[serde(default)]
    times: Option<u64>,
    #[serde(rename = "do")]
    act: Act,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Act {
    /// Answers with this, and does nothing else.
    Answer(Canned),
    /// Works, and answers after so many milliseconds.
    Slow(u64),
    /// Works, sends half of the answer, and no more.
    Stall,
    /// Closes the connection without doing anything.
    Reset,
    /// Works, and closes the connection without a word.
    ResetAfter,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Canned {
    pub(super) status: u16,
    /// A page of HTML where there is none.
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
}

/// What is switched on now.
#[derive(Debug, Default)]
pub(super) struct Switchboard {
    pub(super) now: Switches,
    /// Since when the search lags.
    pub(super) lags_since: Option<Time>,
    faults: Vec<Fault>,
}

impl Switchboard {
    /// Changes the switches that `patch` names.
    pub(super) fn set(&mut self, patch: &serde_json::Value, now: Time) -> Result<(), String> {
        let mut all = serde_json::to_value(&self.now).map_err(|error| error.to_string())?;
        let (Some(all_of), Some(patch)) = (all.as_object_mut(), patch.as_object()) else {
            return Err("switches are a JSON object".into());
        };
        all_of.extend(patch.clone());
        let new: Switches = serde_json::from_value(all).map_err(|error| error.to_string())?;
        self.lags_since = match new.search {
            Search::Lags => self.lags_since.or(Some(now)),
            _ => None,
        };
        self.now = new;
        Ok(())
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// What happens to this request: the first fault that fits it, counted.
    pub(super) fn strike(&mut self, method: &str, path: &str) -> Option<Act> {
        let at = self.faults.iter_mut().position(|fault| {
            let fits = fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && fault.path.as_deref().is_none_or(|wanted| path.contains(wanted));
            if fits && fault.skip > 0 {
                fault.skip -= 1;
                return false;
            }
            fits
        })?;
        let fault = &mut self.faults[at];
        let act = fault.act.clone();
        if let Some(left) = fault.times.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.faults.remove(at);
            }
        }
        Some(act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_switch_that_there_is_none_of_is_refused() {
        let mut board = Switchboard::default();
        board.set(&json!({"search": "lags", "skew_s": 90}), Time(1)).unwrap();
        assert_eq!((board.now.search, board.now.skew_s, board.lags_since), (Search::Lags, 90, Some(Time(1))));
        assert!(board.set(&json!({"sarch": "lags"}), Time(2)).is_err());
        board.set(&json!({"search": "404"}), Time(3)).unwrap();
        assert_eq!((board.now.skew_s, board.lags_since), (90, None));
    }

    #[test]
    fn a_fault_hits_what_it_is_for_and_as_often_as_it_says() {
        let mut board = Switchboard::default();
        let fault = json!({"method": "post", "path": "/statuses/", "skip": 1, "times": 2, "do": "reset-after"});
        board.add(serde_json::from_value(fault).unwrap());
        let hits: Vec<bool> = ["POST", "GET", "POST", "POST", "POST"]
            .iter()
            .map(|method| board.strike(method, "/api/v1/repos/a/b/statuses/c").is_some())
            .collect();
        assert_eq!(hits, [false, false, true, true, false]);
        board.add(serde_json::from_value(json!({"do": {"answer": {"status": 502}}})).unwrap());
        assert!(matches!(board.strike("GET", "/"), Some(Act::Answer(Canned { status: 502, .. }))));
        board.clear_faults();
        assert_eq!(board.strike("GET", "/"), None);
    }
}

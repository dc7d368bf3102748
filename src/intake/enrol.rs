//! Which repositories are tested: by rule, so that nobody is forgotten. What the rule leaves out is kept with the reason.

use crate::config::Enrol;
use crate::forge::Repository;

/// Why a repository without a commit is out. Nobody can open a pull request in it, so once it has one, nothing that is asked
/// there is history.
pub(super) const EMPTY: &str = "it is empty";

/// The rule's word on a repository: in or out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) enrolled: bool,
    pub(crate) why: String,
}

pub(crate) fn word(rule: &Enrol, repository: &Repository) -> Word {
    let is_in = |why: String| Word { enrolled: true, why };
    let is_out = |why: String| Word { enrolled: false, why };
    let name = &repository.repo.name;
    let named =
        |list: &[crate::model::RepoName]| list.iter().any(|one| one.as_str().eq_ignore_ascii_case(name.as_str()));
    if named(&rule.except) {
        return is_out("`forge.enrol.except` names it".into());
    }
    if repository.archived {
        return is_out("it is archived".into());
    }
    if repository.empty {
        return is_out(EMPTY.into());
    }
    if named(&rule.repositories) {
        return is_in("`forge.enrol.repositories` names it".into());
    }
    match &rule.topic {
        Some(topic) if repository.topics.iter().any(|one| one.eq_ignore_ascii_case(topic)) => {
            is_in(format!("it has the topic `{topic}`"))
        }
        Some(topic) => is_out(format!("it lacks the topic `{topic}`")),
        None if rule.repositories.is_empty() => is_in("every repository of the organisation is tested".into()),
        None => is_out("`forge.enrol.repositories` does not name it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RepoId;

    fn repository(name: &str, topics: &[&str]) -> Repository {
        Repository {
            id: RepoId(1),
            repo: format!("recipes/{name}").parse().unwrap(),
            default_branch: "main".into(),
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            archived: false,
            empty: false,
            may_write: true,
        }
    }

    fn is_in(rule: &Enrol, repository: &Repository) -> bool {
        word(rule, repository).enrolled
    }

    #[test]
    fn without_a_rule_everything_is_in() {
        assert!(is_in(&Enrol::default(), &repository("keycloak", &[])));
    }

    #[test]
    fn a_topic_a_list_or_either() {
        let topic = Enrol { topic: Some("recipe".into()), ..Enrol::default() };
        assert!(is_in(&topic, &repository("keycloak", &["Recipe"])));
        assert!(!is_in(&topic, &repository("keycloak", &["docs"])));
        let list = Enrol { repositories: vec!["keycloak".parse().unwrap()], ..Enrol::default() };
        assert!(is_in(&list, &repository("Keycloak", &[])));
        assert!(!is_in(&list, &repository("docs", &[])));
        let either = Enrol { repositories: list.repositories, ..topic };
        assert!(is_in(&either, &repository("keycloak", &[])));
        assert!(is_in(&either, &repository("docs", &["recipe"])));
    }

    #[test]
    fn what_is_left_out_says_why() {
        let rule = Enrol { except: vec!["docs".parse().unwrap()], ..Enrol::default() };
        assert_eq!(word(&rule, &repository("docs", &[])).why, "`forge.enrol.except` names it");
        let archived = Repository { archived: true, ..repository("old", &[]) };
        assert_eq!(word(&rule, &archived), Word { enrolled: false, why: "it is archived".into() });
        let empty = Repository { empty: true, ..repository("new", &[]) };
        assert!(!is_in(&rule, &empty));
    }
}

//! What two runs said, side by side: the page that compares them and the command line show the same.

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Which {
    Both,
    First,
    Second,
}

/// The longest common part, and around it what only one of them has.
pub(crate) fn diff<'a>(first: &'a [String], second: &'a [String]) -> Vec<(Which, &'a str)> {
    let wide = second.len() + 1;
    let mut common = vec![0_u32; (first.len() + 1) * wide];
    for at in (0..first.len()).rev() {
        for by in (0..second.len()).rev() {
            common[at * wide + by] = if first[at] == second[by] {
                common[(at + 1) * wide + by + 1] + 1
            } else {
                common[(at + 1) * wide + by].max(common[at * wide + by + 1])
            };
        }
    }
    let (mut at, mut by, mut lines) = (0, 0, Vec::new());
    while at < first.len() || by < second.len() {
        if at < first.len() && by < second.len() && first[at] == second[by] {
            lines.push((Which::Both, first[at].as_str()));
            (at, by) = (at + 1, by + 1);
        } else if by == second.len() || (at < first.len() && common[(at + 1) * wide + by] >= common[at * wide + by + 1])
        {
            lines.push((Which::First, first[at].as_str()));
            at += 1;
        } else {
            lines.push((Which::Second, second[by].as_str()));
            by += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn what_both_say_stands_once() {
        let (a, b) = (lines("abcd"), lines("abxd"));
        let shown: Vec<(Which, &str)> = diff(&a, &b);
        assert_eq!(
            shown,
            [(Which::Both, "a"), (Which::Both, "b"), (Which::First, "c"), (Which::Second, "x"), (Which::Both, "d")]
        );
    }

    proptest! {
        #[test]
        fn each_side_can_be_read_off_it(a in "[ab]{0,12}", b in "[ab]{0,12}") {
            let (first, second) = (lines(&a), lines(&b));
            let shown = diff(&first, &second);
            let of = |without: Which| shown.iter().filter(|(which, _)| *which != without).map(|(_, line)| *line).collect::<String>();
            prop_assert_eq!(of(Which::Second), a);
            prop_assert_eq!(of(Which::First), b);
        }
    }
}

//! The stories that concern the forge, once more with a real Gitea in it: `passes::NAME` becomes `real_gitea::NAME`. This is
//! the list; what of it cannot be told there says why.
//!
//! `scripts/test --long` builds the Gitea and runs them.

use crate::support::forges::on_real_gitea;

macro_rules! on_real_gitea {
    ($($module:ident::$story:ident,)* $(not $excluded:ident::$name:ident: $reason:literal,)*) => {
        $(
            #[test]
            #[ignore = "part of scripts/test --long"]
            fn $story() {
                on_real_gitea(crate::$module::$story);
            }
        )*
        $(
            #[test]
            #[ignore = "part of scripts/test --long"]
            fn $name() {
                // It has to be there to be left out.
                let _: fn() = crate::$excluded::$name;
                println!("SKIPPED real_gitea::{}: {}", stringify!($name), $reason);
            }
        )*
    };
}

on_real_gitea! {
    passes::a_member_asks_and_the_head_is_deployed_and_answered,
    comments::a_stranger_is_refused_and_told_who_may_ask,
    comments::an_edited_comment_is_no_request,
    comments::a_command_inside_a_code_block_or_a_quote_is_no_request,
    comments::an_unknown_word_and_a_call_for_help_are_answered,
    comments::what_the_bot_said_and_somebody_deleted_is_said_anew,
    pushed_after::a_push_after_the_comment_is_refused_and_said,
    closed_before_its_turn::a_pull_request_closed_before_its_turn_is_not_deployed,
    two_requests::a_second_request_waits_and_says_for_whom,
    restart::a_comment_made_while_nobody_was_there_runs_once,
    other_doors::a_webhook_brings_a_comment_at_once_and_only_a_signed_one,
    other_doors::a_pull_request_from_a_fork_is_tested_like_any_other,
    forge_down::the_answer_arrives_when_the_forge_is_back,
    forge_changes::who_left_between_comment_and_look_is_no_member,
    forge_changes::what_was_forced_over_the_head_after_the_comment_is_not_tested,
    forge_changes::a_repository_that_gets_another_name_in_mid_run_is_answered,
    forge_changes::a_repository_that_is_archived_in_mid_run_costs_the_others_nothing,
    forge_changes::a_locked_conversation_is_answered_by_who_may_write,
    forge_changes::a_token_that_is_revoked_in_mid_run_is_said_and_its_successor_brings_the_answer,
    forge_changes::a_hidden_organisation_is_served_like_any_other,
    bad_input::a_pull_request_whose_fork_is_gone,
}

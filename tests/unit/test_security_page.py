"""Each claim of the page on security is held by a test, which is named here and exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "security.md"
PACKAGE = ROOT / "wsgi_coverage"
# Sections that tell what to do, and what is not protected.
NO_CLAIMS = {"Hardening", "What is not protected", "Report a vulnerability"}
# Between a process and its own child, and between a worker and the agent of its host.
MAY_UNPICKLE = {"ahead.py", "child.py", "child_main.py", "asking.py", "agent.py"}

ACCESS = "integration/test_authorization.py::test_"
AUDIT = "integration/test_audit.py::test_"
CALLBACK = "integration/test_flask_callback.py::test_"
FLEET = "fleet/test_fleet.py::test_"
HOSTILE = "unit/data/test_hostile.py::test_"
LOGINS = "integration/test_failed_logins.py::test_"
MODES = "e2e/test_modes.py::test_"
ORIGIN = "integration/test_cross_site.py::test_"
PRIVATE = "unit/store/test_private.py::test_"
REGULAR = "unit/data/test_regular_files.py::test_"
SIDE = "e2e/test_side_port.py::test_"
THROTTLE = "unit/web/test_throttle.py::test_"

# What a paragraph, an item of a list or a row of a table says: the tests that hold it.
CLAIMS = {
    # Who may reach what
    "without one of them construction raises": [
        f"{ACCESS}without_anything_that_says_who_may_look_construction_raises",
        f"{ACCESS}a_setting_that_lets_nobody_in_is_not_enough",
        "integration/test_flask_access.py::test_without_debug_password_or_auth_it_raises_runtime_error",
    ],
    "it never asks for credentials there": [
        f"{ACCESS}with_a_password_the_application_needs_none",
        f"{ACCESS}the_callback_is_not_asked_about_requests_of_the_application",
    ],
    "on another address it needs a password, `auth` or `--insecure`": [
        f"{SIDE}other_machines_are_let_in_with_a_password_or_insecurely_only",
        f"{SIDE}without_a_password_other_host_names_are_not_served",
        f"{SIDE}a_password_is_asked_for_everywhere",
        f"{SIDE}insecurely_everybody_is_served",
        "e2e/test_run_processes.py::test_a_port_that_a_password_kept_is_not_served_again_without",
    ],
    "sockets by which workers call each other, shared memory": [
        "unit/store/test_channel.py::test_sockets_are_for_the_own_user_only",
        f"{PRIVATE}it_is_in_shared_memory_and_closed",
        "unit/store/test_log.py::test_files_are_for_the_own_user_only",
    ],
    "but for folders that were there before": [
        "unit/store/test_files.py::test_published_files_are_for_the_own_user_only",
        f"{MODES}a_server_makes_nothing_that_others_may_read",
    ],
    "its own password, ACL and TLS": [
        f"{FLEET}with_a_wrong_password_the_application_serves_and_health_says_so",
        "fleet/test_store.py::test_tls",
    ],
    "the cluster decides who may list pods and forward ports": [
        "unit/client/test_kubectl.py::test_the_forwarded_port_listens_on_this_machine_alone",
        "e2e/pods/test_forwards.py::"
        "test_a_port_forwarded_by_the_package_listens_on_this_machine_alone",
        "e2e/pods/test_forwards.py::test_a_cluster_that_forbids_the_forward",
    ],
    "200 characters each, 10,000 a process": [
        "unit/collect/labels/test_requests.py::"
        "test_a_label_that_cannot_be_one_is_ignored_and_it_is_said_why",
        "unit/collect/labels/test_label_log.py::"
        "test_labels_are_bounded_in_number_and_those_that_are_known_go_on",
    ],
    # Access
    "The first of `auth`, password and `debug` that is set decides": [
        f"{ACCESS}with_a_password_debug_lets_nobody_in_without_it",
        f"{ACCESS}the_callback_goes_before_password_and_debug",
        f"{CALLBACK}the_callback_goes_before_debug_and_password",
    ],
    "Authorization comes before routing": [f"{ACCESS}without_credentials_every_path_is_401"],
    "compared in constant time": [
        f"{ACCESS}user_name_and_password_are_both_compared_in_constant_time",
        f"{ACCESS}user_name_and_password_are_utf_8",
        f"{ACCESS}an_empty_password_variable_is_no_password",
        f"{ACCESS}a_malformed_or_wrong_authorization_header_is_401",
    ],
    "A callback that raises denies": [
        f"{ACCESS}a_callback_that_raises_denies_and_is_logged",
        f"{ACCESS}what_is_no_verdict_is_401_and_logged",
        f"{ACCESS}the_body_can_be_read_after_the_callback",
        f"{CALLBACK}a_callback_that_raises_denies_and_is_logged",
        "unit/web/test_verdict.py::test_what_is_no_verdict_never_lets_in",
    ],
    "Under `debug` only local host names are served": [
        f"{ORIGIN}in_debug_any_other_host_name_is_refused",
        f"{ORIGIN}in_debug_a_local_host_name_is_served",
        f"{ORIGIN}trusted_hosts_says_which_other_host_names_are_served",
        f"{ORIGIN}trusted_hosts_holds_with_a_password_too",
    ],
    "`disabled` turns everything off": [
        "integration/test_settings_sources.py::test_disabled_turns_everything_off",
        "integration/test_flask_access.py::test_disabled_leaves_the_application_alone",
    ],
    # Wrong passwords
    "Ten wrong passwords within an hour": [
        f"{LOGINS}after_too_many_wrong_passwords_an_address_gets_429_and_is_let_in_again_later",
        f"{LOGINS}the_side_port_counts_the_failures_at_all_of_its_paths_together",
        f"{LOGINS}flask_coverages_password_is_throttled",
        f"{THROTTLE}the_first_failures_are_free_and_each_further_one_costs_twice_as_much",
        f"{THROTTLE}a_failure_is_forgotten_after_the_window",
    ],
    "No request is kept waiting": [
        f"{LOGINS}no_request_waits",
        f"{LOGINS}the_application_is_served_meanwhile",
    ],
    "A request without a user name and password is no failure": [
        f"{LOGINS}a_request_without_a_user_name_and_password_is_no_failure",
        f"{LOGINS}a_right_password_does_not_clear_the_failures_of_its_address",
    ],
    "`X-Forwarded-For` is not looked at": [
        f"{LOGINS}another_address_is_served_meanwhile_whatever_it_says_it_forwards",
        f"{THROTTLE}addresses_of_one_client_count_together",
        f"{THROTTLE}the_addresses_remembered_are_bounded_and_the_oldest_failure_goes_first",
    ],
    "Each wrong password is a warning": [
        f"{LOGINS}a_wrong_password_is_logged_without_the_password",
        f"{THROTTLE}the_log_is_not_flooded_and_says_what_is_left_out",
    ],
    "What an `auth` callback refuses is not counted": [
        f"{LOGINS}what_a_callback_refuses_is_not_counted"
    ],
    "Each process counts for itself": [
        f"{LOGINS}behind_a_proxy_the_address_is_the_clients_where_proxy_fix_says_so"
    ],
    # Changes
    "comes from another site": [
        f"{ORIGIN}another_sites_page_may_not_ask_for_a_change",
        f"{ORIGIN}a_refused_request_has_changed_nothing",
        f"{ORIGIN}our_own_pages_and_curl_may",
    ],
    "they are guarded as a POST is": [
        f"{SIDE}another_site_s_page_cannot_reset",
        f"{ORIGIN}a_browsers_get_for_a_change_is_refused_where_it_does_not_say_its_site",
    ],
    "Each request for a change leaves a line": [
        f"{AUDIT}a_change_leaves_a_line",
        f"{AUDIT}snapshots_leave_a_line_with_their_label_and_their_id",
        f"{AUDIT}forgetting_a_label_leaves_a_line",
        f"{AUDIT}a_change_that_is_refused_leaves_a_line_with_the_reason",
        f"{AUDIT}the_side_ports_changes_leave_a_line",
        f"{AUDIT}the_example_of_the_page_on_security_is_such_a_line",
    ],
    "`result` is `done`": [
        f"{AUDIT}a_change_that_cannot_be_done_leaves_a_line",
        f"{AUDIT}a_change_that_the_server_interrupts_leaves_a_line",
    ],
    "`user` is the name sent by HTTP Basic": [
        f"{AUDIT}in_debug_and_with_a_callback_the_user_is_whom_the_server_names",
        f"{AUDIT}a_callback_may_name_the_user",
        f"{AUDIT}a_callback_of_flask_may_name_the_user",
    ],
    "Texts are JSON strings in ASCII of 200 characters at most": [
        f"{AUDIT}no_text_forges_a_field_or_a_line",
        f"{AUDIT}no_user_name_forges_a_line",
        f"{AUDIT}a_long_text_is_cut",
    ],
    "The logger has no handler and no level of its own": [
        f"{AUDIT}the_logger_leaves_all_to_the_applications_configuration"
    ],
    "To keep the lines in a file": [f"{AUDIT}lines_go_to_a_file_by_what_the_page_on_security_says"],
    # What is disclosed
    "To whom the dashboard admits": [
        "integration/test_endpoints.py::test_health_says_what_is_measured_and_why",
        "e2e/test_documented_answers.py::test_the_documented_answers_are_those_of_a_server",
    ],
    "are shown as set, never by their values": [
        "integration/test_settings_sources.py::test_the_settings_do_not_show_the_password",
        "integration/test_settings_sources.py::"
        "test_no_answer_has_another_variable_of_the_environment",
        f"{FLEET}what_is_said_of_a_wrong_address_does_not_tell_its_password",
    ],
    "An answer to an error has no traceback": [
        "integration/test_negotiation.py::"
        "test_an_unexpected_exception_is_a_500_with_a_slug_and_without_a_traceback"
    ],
    "and no source text": [
        "integration/test_measuring.py::test_source_text_is_in_the_pages_and_in_no_other_format"
    ],
    "only where `store_sources` says so": [
        f"{FLEET}source_text_is_in_the_store_only_if_it_may_be",
        "fleet/test_bundle.py::test_text_of_sources_stays_here_unless_it_is_wanted",
    ],
    # In the browser
    "The content security policy": [
        "integration/test_negotiation.py::test_every_answer_has_the_protecting_headers",
        "integration/test_negotiation.py::test_a_401_has_the_protecting_headers",
        "integration/test_measuring.py::"
        "test_coverage_pys_pages_need_nothing_that_the_policy_forbids",
    ],
    "What comes from outside": [
        "integration/test_snapshots.py::test_a_label_is_escaped_on_the_dashboard",
        "integration/test_negotiation.py::test_a_message_that_is_not_ours_is_not_shown",
        "integration/test_endpoints.py::test_a_page_shows_and_links_a_file_of_any_name",
    ],
    # On the disk
    "files have mode 0600": [
        f"{MODES}a_server_makes_nothing_that_others_may_read",
        f"{MODES}what_is_collected_is_the_user_s_alone_but_for_a_file_that_is_named",
        f"{MODES}the_test_command_s_data_file_is_the_user_s_alone",
        "unit/system/test_own_files.py::test_a_file_that_replaces_another_is_closed_until_then",
    ],
    "A folder that was there before keeps its mode": [
        "unit/system/test_own_files.py::test_a_folder_that_is_there_keeps_its_mode"
    ],
    "lies where anybody may make folders": [
        f"{PRIVATE}what_others_made_first_is_not_used_and_all_go_to_the_same_other_place",
        f"{PRIVATE}nothing_of_theirs_is_read",
        "e2e/test_private_folder.py::test_all_workers_find_the_same_other_place_and_health_says_so",
    ],
    "A snapshot's id is made here": [
        "integration/test_snapshots.py::test_only_letters_and_digits_of_a_label_become_part_of_a_path",
        "integration/test_snapshots.py::test_an_id_that_no_snapshot_has_is_404",
    ],
    "`cache_dir/current`": [
        "integration/test_damaged_reports.py::"
        "test_a_link_in_the_place_of_a_file_of_a_report_is_not_followed",
        "unit/report/test_publish.py::test_what_leads_out_of_the_cache_is_refused_by_name",
    ],
    # Data files and sources
    "can put anything there": [
        f"{HOSTILE}it_is_set_aside_and_the_others_count",
        f"{REGULAR}a_source_that_is_no_regular_file_is_named_and_not_opened",
    ],
    "of up to 512 MiB": [
        f"{HOSTILE}what_is_no_regular_file_or_a_very_large_one_is_set_aside",
        f"{HOSTILE}an_sqlite_that_opens_nothing_in_memory_reads_a_copy",
    ],
    "It is set aside by name": [
        f"{HOSTILE}it_is_set_aside_and_the_others_count",
        f"{HOSTILE}a_file_that_takes_too_long_to_read_is_set_aside",
        f"{HOSTILE}more_than_a_data_file_may_hold_is_not_fetched",
    ],
    "of up to 32 MiB": [f"{REGULAR}a_source_of_two_gigabytes_is_named_and_not_read"],
    "A list of warnings ends after a thousand": [f"{HOSTILE}warnings_are_bounded_in_number"],
    "up to 256 MiB of SQL": [
        f"{HOSTILE}a_collection_sets_it_aside_and_the_others_count",
        "unit/checkout/test_serialized.py::test_more_than_the_limit_is_refused",
        "unit/checkout/test_serialized.py::test_sql_can_do_nothing_but_fill_the_data_file",
        f"{REGULAR}a_pipe_takes_the_place_of_a_file_after_it_was_looked_at",
    ],
    "is unpickled or run": [
        "unit/test_security_page.py::test_only_processes_of_one_host_send_each_other_pickles",
        "fleet/test_bundle.py::test_what_is_no_report_is_refused",
    ],
    # Limits
    "Bodies of 64 KiB": [
        "integration/test_bad_requests.py::test_a_body_over_the_limit_is_413",
        "integration/test_snapshots.py::test_a_label_has_at_most_1000_characters",
        "integration/test_snapshots.py::test_there_is_a_limit_to_the_number_of_snapshots",
    ],
    "A full disk is an error": [
        "integration/test_snapshots.py::test_a_full_disk_is_507_and_nothing_half_written_is_listed",
        "integration/test_snapshots.py::test_a_full_disk_leaves_the_published_report_as_it_was",
    ],
    # The client
    "no redirect is followed": [
        "unit/client/test_client.py::test_no_redirect_is_followed",
        "unit/cli/test_health.py::test_credentials_are_sent_nowhere_else",
    ],
    "It is in no error message": ["unit/client/test_access.py::test_no_error_shows_the_password"],
}


def blocks() -> list[str]:
    """The paragraphs, items of lists and rows of tables of all sections with claims."""
    text = re.sub(r"^```.*?^```\n", "", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    _, *sections = re.split(r"^## ", text, flags=re.M)
    found = []
    for section in sections:
        heading, _, body = section.partition("\n")
        if heading not in NO_CLAIMS:
            # The first two rows of a table are its heading.
            rows = re.sub(r"^\|.*\n\| ---.*\n", "", body, flags=re.M)
            parts = re.split(r"\n\n|\n(?=- )|\n(?=\| )", rows)
            found += [" ".join(part.split()) for part in parts if part.strip()]
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block[:40])
def test_every_claim_of_the_page_is_held_by_a_test(block: str) -> None:
    assert [claim for claim in CLAIMS if claim in block]


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_tests_of_a_claim_exist_and_the_page_has_the_claim_once(claim: str) -> None:
    assert sum(claim in block for block in blocks()) == 1

    for test in CLAIMS[claim]:
        path, _, name = test.partition("::")
        assert name in names_in(ROOT / "tests" / path), test


def test_only_processes_of_one_host_send_each_other_pickles() -> None:
    importing = {
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in [getattr(node, "module", None), *(each.name for each in node.names)]
        if module in ("pickle", "marshal", "shelve", "dill", "joblib")
    }

    assert importing == MAY_UNPICKLE

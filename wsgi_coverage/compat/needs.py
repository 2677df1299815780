"""The undocumented names of coverage.py that are used, and what happens without them.

No state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """Names that are needed for one purpose."""

    without: str  # what happens if one of them is missing, as a phrase for /health
    names: tuple[str, ...]  # each as module:attribute, or module:class.attribute
    since: tuple[int, ...] = ()  # the release of coverage.py from which on they are needed


def _of(place: str, names: str) -> tuple[str, ...]:
    """Prefix names with their module (coverage.files:) or class (coverage.html:HtmlReporter.)."""
    return tuple(f"{place}{name}" for name in names.split())


RULES = "rules"
COLLECTOR = "collector"
ANSWERING = "lending"
NEVER_RUN = "never run"
EARLIER = "process start"
WARNINGS = "warnings"
REPORTS = "reports"
PATHS = "paths"
PARSER = "parser"
PATTERNS = "patterns"
PAGES = "pages"
PAGE_NAMES = "page names"
DETAIL = "detail"
REQUIRED = "required"
CONNECTION = "connection"
CHILDREN = "children"
NAMES_FROM = "names from"
CONFIG_FILE = "configuration file"
CORE_NAME = "core's name"
CALL_STACK = "call stack"
SYSMON_FORKS = "forks under sysmon"
SYSMON_RESETS = "resets under sysmon"
SYSMON_CODE = "code under sysmon"
JOURNAL = "journal"
REGIONS = "regions"

NEEDS: Mapping[str, Need] = {
    RULES: Need(
        "coverage.py's own tracer measures instead of the one that marks lines in shared memory, "
        "and is read by its documented API: lines that run during a flush may be lost; modules "
        "that were imported before measuring began are not listed",
        (
            *_of(
                "coverage.control:Coverage.",
                "_init _inited_for_start _init_for_start _post_init _inorout _file_mapper",
            ),
            *_of("coverage.inorout:InOrOut.", "should_trace omit_match"),
            *_of("coverage.disposition:FileDisposition.", "trace file_tracer source_filename"),
            *_of("coverage.files:GlobMatcher.", "match info"),
        ),
    ),
    COLLECTOR: Need(
        "coverage.py's own tracer, where that measures, is read by its documented API: lines that "
        "run during a flush may be lost, load is not told from runtime, and there is no pause",
        (
            *_of("coverage.control:Coverage.", "_collector _data"),
            *_of(
                "coverage.collector:Collector.",
                "flush_data use_data cached_mapped_file switch_context _installation_trace "
                "_start_tracer tracers data data_lock covdata branch core threading should_trace "
                "should_trace_cache",
            ),
            *_of("coverage.core:Core.", "packed_arcs systrace"),
            *_of("coverage.types:Tracer.", "stop activity reset_activity"),
            *_of("coverage.sqldata:CoverageData.", "_connect _start_using _current_context"),
        ),
    ),
    ANSWERING: Need(
        "the Coverage that start_early returned has data only for get_data(): its own reports are "
        "empty",
        _of("coverage.control:Coverage.", "_data _data_to_close"),
    ),
    NEVER_RUN: Need(
        "files of `source` that never ran cannot be found: no report is made where source is set",
        _of(
            "coverage.inorout:InOrOut.",
            "find_possibly_unexecuted_files _find_executable_files source_pkgs omit_match",
        )
        + _of("coverage.control:Coverage.", "_inorout _file_mapper")
        + _of("coverage.files:GlobMatcher.", "match"),
    ),
    EARLIER: Need(
        "a Coverage that COVERAGE_PROCESS_START has started is treated as one of 'coverage run': "
        "it is reported on, and neither reset nor paused",
        (
            "coverage.control:process_startup.coverage",
            *_of("coverage.control:Coverage.", "_auto_save _collector config"),
            *_of("coverage.config:CoverageConfig.", "copy serialize deserialize"),
            *_of("coverage.collector:Collector.", "flush_data cached_mapped_file"),
        ),
    ),
    WARNINGS: Need(
        "coverage.py's warnings go to Python's warning filters",
        _of("coverage.control:Coverage.", "_warn"),
    ),
    CHILDREN: Need(
        "forks of a program are measured, but no other processes that it starts",
        _of("coverage.config:CoverageConfig.", "copy serialize deserialize data_file core")
        + _of("coverage.control:Coverage.", "config"),
    ),
    NAMES_FROM: Need(
        "where a Coverage ran before, relative names are resolved in the working directory",
        _of("coverage.files:", "relative_directory"),
    ),
    REPORTS: Need(
        "no report is made",
        (
            *_of(
                "coverage.control:Coverage.",
                "_init _get_file_reporter _analyze _prepare_data_for_reporting _file_mapper "
                "_data_to_close config",
            ),
            *_of("coverage.report_core:", "get_analysis_to_report"),
            *_of(
                "coverage.results:",
                "analysis_from_file_reporter Analysis AnalysisNarrower Numbers",
            ),
            *_of("coverage.results:AnalysisNarrower.", "add_regions narrow"),
            *_of(
                "coverage.results:Analysis.",
                "numbers statements missing executed missing_formatted "
                "executed_branch_arcs missing_branch_arcs",
            ),
            *_of(
                "coverage.results:Numbers.",
                "n_files n_statements n_excluded n_missing n_executed n_branches "
                "n_partial_branches n_missing_branches n_executed_branches pc_covered",
            ),
            *_of(
                "coverage.config:CoverageConfig.",
                "copy get_option paths relative_files data_file parallel report_include "
                "report_omit ignore_errors precision",
            ),
            *_of("coverage.files:", "RELATIVE_DIR"),
        ),
    ),
    PATHS: Need(
        "no report is made where [paths] or relative_files is set",
        _of("coverage.control:Coverage.", "_make_aliases")
        + _of("coverage.files:PathAliases.", "map"),
    ),
    PARSER: Need(
        "every source is parsed anew for each report, by the process that makes it",
        (
            "coverage.parser:PythonParser",
            *_of(
                "coverage.parser:PythonParser.",
                "text filename exclude parse_source statements excluded multiline_map "
                "lines_matching arcs _ast_root _all_arcs _missing_arc_fragments _with_jump_fixers",
            ),
            *_of("coverage.python:", "PythonFileReporter get_python_source"),
            *_of("coverage.python:PythonFileReporter.", "parser _parser relname"),
            "coverage.phystokens:source_encoding",
            "coverage.regions:code_regions",
            *_of("coverage.config:CoverageConfig.", "get_option"),
        ),
    ),
    PATTERNS: Need(
        "sources are not parsed ahead of the first report",
        _of(
            "coverage.files:",
            "GlobMatcher prep_patterns find_python_files canonical_filename",
        )
        + _of("coverage.files:GlobMatcher.", "match")
        + _of("coverage.config:CoverageConfig.", "run_omit include_namespace_packages"),
    ),
    PAGES: Need(
        "all pages of coverage.py's HTML are made when the first of them is asked for",
        (
            *_of("coverage.html:", "HtmlReporter FileToReport IndexItem escape"),
            *_of(
                "coverage.html:HtmlReporter.",
                "new_index_page should_report make_local_static_report_files write_html_page "
                "write_index_page incr directory_was_empty index_pages index_tmpl source_tmpl "
                "directory",
            ),
            "coverage.templite:Templite.context",
            *_of("coverage.html:IncrementalChecker.", "can_skip_file set_index_info"),
            *_of("coverage.html:IndexItem.", "url file description nums"),
            *_of("coverage.html:FileToReport.", "fr analysis html_filename prev_html next_html"),
            *_of("coverage.html:IndexPage.", "filename summaries"),
            *_of("coverage.config:CoverageConfig.", "html_dir extra_css"),
            "coverage.misc:format_local_datetime",
        ),
    ),
    PAGE_NAMES: Need(
        "pages of coverage.py's HTML report have other names than coverage.py's own",
        _of("coverage.files:", "flat_rootname"),
    ),
    DETAIL: Need(
        "detail=lines takes longer for a snapshot",
        (
            *_of(
                "coverage.jsonreport:JsonReporter.",
                "report_one_file make_summary make_branch_summary total",
            ),
            *_of("coverage.jsonreport:", "JsonReporter FORMAT_VERSION"),
            "coverage.results:Analysis.filename",
        ),
    ),
    REQUIRED: Need(
        "wsgi-coverage test cannot tell whether enough was executed",
        _of("coverage.results:", "display_covered should_fail_under"),
    ),
    CONNECTION: Need("reports take longer", _of("coverage.sqldata:CoverageData.", "_connect")),
    CONFIG_FILE: Need(
        "the configuration file that coverage.py has read is not shown, and there is no warning if "
        "one was not read",
        _of("coverage.config:CoverageConfig.", "config_file"),
    ),
    CORE_NAME: Need(
        "where coverage.py's own tracer measures, its core is shown as unknown",
        _of("coverage.collector:Collector.", "tracer_name"),
    ),
    CALL_STACK: Need(
        "the sources of the functions that were running when measuring began stay in memory",
        _of("coverage.collector:", "short_stack"),
    ),
    SYSMON_FORKS: Need(
        "where coverage.py's sysmon measures, a process forked while a thread enters new code may "
        "hang",
        _of("coverage.sysmon:SysMonitor.", "lock"),
    ),
    SYSMON_RESETS: Need(
        "where coverage.py's sysmon measures branches, one that began before a reset may count "
        "after it",
        _of("coverage.sysmon:SysMonitor.", "code_infos")
        + _of("coverage.sysmon:CodeInfo.", "last_line"),
        since=(7, 17, 2),
    ),
    SYSMON_CODE: Need(
        "where coverage.py's sysmon measures, nothing warns of code that is compiled again and "
        "again",
        _of("coverage.sysmon:SysMonitor.", "code_objects"),
    ),
    JOURNAL: Need(
        "where another Coverage runs already, a disk that is full when it saves may leave a "
        "damaged data file",
        _of("coverage.sqlitedb:SqliteDb.", "execute_void"),
    ),
    REGIONS: Need(
        "each source is parsed a second time for its functions and classes",
        _of("coverage.regions:", "RegionFinder")
        + _of("coverage.regions:RegionFinder.", "handle_node regions"),
    ),
}

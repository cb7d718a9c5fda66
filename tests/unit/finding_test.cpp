#include "trlm/adapt/finding.hpp"

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "support/catch.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

// Restated by hand from the list of codes, independently of src/finding.cpp.
const std::map<std::string_view, std::set<std::string_view>> codes_by_class = {
    {"invalid",
     {"truncated",
      "trailing_bytes",
      "bad_magic",
      "bad_header_length",
      "reserved_not_zero",
      "bad_value",
      "offset_not_canonical",
      "range_out_of_file",
      "misaligned",
      "overlap",
      "hole",
      "padding_not_zero",
      "size_overflow",
      "length_mismatch",
      "limit_exceeded",
      "bad_rank",
      "bad_dim",
      "bad_block_size",
      "bad_scale",
      "non_finite",
      "duplicate_tensor",
      "missing_tensor",
      "unexpected_tensor",
      "shape_mismatch",
      "directory_not_sorted",
      "tokenizer_malformed",
      "count_mismatch",
      "index_out_of_range",
      "index_not_ascending",
      "mask_bits_past_end",
      "retention_mismatch",
      "bad_low_rank",
      "bad_metadata",
      "bad_json",
      "duplicate_key",
      "unknown_key",
      "missing_key",
      "path_escape",
      "path_collision",
      "duplicate_id",
      "dependency_unknown",
      "dependency_cycle",
      "phase_order",
      "slot_conflict",
      "unplanned_file",
      "unused_module",
      "bad_view"}},
    {"drift",
     {"checksum_mismatch", "payload_checksum_mismatch", "mask_checksum_mismatch", "digest_mismatch",
      "size_mismatch", "value_drift", "link_mismatch", "ledger_broken", "replay_differs",
      "undo_stale"}},
    {"incompatible",
     {"flags_differ", "tensor_count_differs", "parameter_count_differs", "layout_differs",
      "tokenizer_differs", "tensor_unknown", "tensor_shape_differs", "fused_non_finite",
      "base_not_listed"}},
    {"policy",
     {"budget_exceeded", "survival_below_threshold", "zero_effect", "not_admitted", "weak_digest",
      "eval_failed", "strength_out_of_range", "already_applied", "unlisted_file"}},
    {"cannot-check",
     {"file_missing", "file_unreadable", "checksum_unverifiable", "unsupported_version",
      "unsupported_dtype", "schema_unsupported", "unsupported_source", "output_failed",
      "out_of_memory", "executor_failed"}},
    {"usage", {"usage_error"}},
};

Finding error(FindingCode code) {
    return {.code = code, .message = "wrong"};
}

Finding warning(FindingCode code) {
    return {.code = code, .message = "odd", .severity = Severity::warning};
}

ExitCode exit_code_of(std::initializer_list<FindingCode> codes) {
    Findings findings;
    for (const FindingCode code : codes)
        findings.add(error(code));
    return findings.exit_code();
}

TEST_CASE("every code has the class that the specification gives it", "[finding]") {
    std::size_t listed = 0;
    for (const auto& [class_name, names] : codes_by_class) {
        for (const std::string_view name : names) {
            INFO(name);
            const auto code = find_finding_code(name);
            REQUIRE(code);
            CHECK(to_string(finding_info(*code).finding_class) == class_name);
            CHECK(finding_info(*code).name == name);
            ++listed;
        }
    }
    CHECK(listed == finding_code_count);
}

TEST_CASE("row i explains code i, in whole sentences", "[finding]") {
    const auto rows = all_finding_infos();
    REQUIRE(rows.size() == finding_code_count);
    std::set<std::string_view> texts;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const FindingInfo& row = rows[i];
        INFO(row.name);
        CHECK(static_cast<std::size_t>(row.code) == i);
        CHECK(&finding_info(row.code) == &row);
        for (const std::string_view text : {row.meaning, row.cause, row.remedy}) {
            CHECK(text.size() >= 20);
            CHECK(text.back() == '.');
            CHECK(text.find_first_of("|\n\t") == std::string_view::npos);  // breaks docs' tables
        }
        CHECK(texts.insert(row.meaning).second);
    }
}

TEST_CASE("names that are no code find nothing", "[finding]") {
    CHECK_FALSE(find_finding_code(""));
    CHECK_FALSE(find_finding_code("Truncated"));
    CHECK_FALSE(find_finding_code("truncated "));
    CHECK_FALSE(find_finding_code("truncate"));
}

TEST_CASE("severities have names", "[finding]") {
    CHECK(to_string(Severity::error) == "error");
    CHECK(to_string(Severity::warning) == "warning");
}

TEST_CASE("one finding decides the exit code by its class", "[finding]") {
    CHECK(Findings{}.exit_code() == ExitCode::ok);
    CHECK(exit_code_of({FindingCode::bad_magic}) == ExitCode::invalid);
    CHECK(exit_code_of({FindingCode::usage_error}) == ExitCode::usage);
    CHECK(exit_code_of({FindingCode::checksum_mismatch}) == ExitCode::drift);
    CHECK(exit_code_of({FindingCode::flags_differ}) == ExitCode::incompatible);
    CHECK(exit_code_of({FindingCode::file_missing}) == ExitCode::cannot_check);
    CHECK(exit_code_of({FindingCode::zero_effect}) == ExitCode::policy);

    CHECK(static_cast<int>(ExitCode::ok) == 0);
    CHECK(static_cast<int>(ExitCode::invalid) == 1);
    CHECK(static_cast<int>(ExitCode::usage) == 2);
    CHECK(static_cast<int>(ExitCode::drift) == 3);
    CHECK(static_cast<int>(ExitCode::incompatible) == 4);
    CHECK(static_cast<int>(ExitCode::cannot_check) == 5);
    CHECK(static_cast<int>(ExitCode::policy) == 6);
}

TEST_CASE(
    "of several classes the order drift, invalid, incompatible, policy, cannot-check, usage "
    "decides",
    "[finding]") {
    using Code = FindingCode;
    CHECK(exit_code_of({Code::usage_error, Code::file_missing, Code::zero_effect,
                        Code::flags_differ, Code::bad_magic, Code::undo_stale}) == ExitCode::drift);
    CHECK(exit_code_of({Code::usage_error, Code::file_missing, Code::zero_effect,
                        Code::flags_differ, Code::bad_view}) == ExitCode::invalid);
    CHECK(exit_code_of({Code::usage_error, Code::file_missing, Code::zero_effect,
                        Code::flags_differ}) == ExitCode::incompatible);
    CHECK(exit_code_of({Code::usage_error, Code::file_missing, Code::zero_effect}) ==
          ExitCode::policy);
    CHECK(exit_code_of({Code::usage_error, Code::file_missing}) == ExitCode::cannot_check);
}

TEST_CASE("warnings are kept but decide nothing", "[finding]") {
    Findings findings;
    findings.add(warning(FindingCode::zero_effect));
    CHECK(findings.size() == 1);
    CHECK_FALSE(findings.empty());
    CHECK_FALSE(findings.has_errors());
    CHECK(findings.exit_code() == ExitCode::ok);
    CHECK(findings.contains(FindingCode::zero_effect));
    CHECK_FALSE(findings.contains(FindingCode::weak_digest));

    findings.add(error(FindingCode::file_missing));
    CHECK(findings.has_errors());
    CHECK(findings.exit_code() == ExitCode::cannot_check);
}

TEST_CASE("findings keep their order and their fields", "[finding]") {
    Findings findings;
    findings.add({.code = FindingCode::bad_scale, .message = "first", .offset = 7, .element = 3});
    Findings more;
    more.add(error(FindingCode::bad_dim));
    findings.append(std::move(more));
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].message == "first");
    CHECK(findings[0].offset == 7U);
    CHECK(findings[0].element == 3U);
    CHECK(findings[1].code == FindingCode::bad_dim);
    std::size_t visited = 0;
    for (const Finding& finding : findings)
        visited += finding.message.empty() ? 0 : 1;
    CHECK(visited == 2);
}

TEST_CASE("a file name is set only where there is none", "[finding]") {
    Findings findings;
    findings.add({.code = FindingCode::bad_dim, .file = "a.adp1"});
    findings.add(error(FindingCode::bad_rank));
    findings.set_file("b.adp1");
    CHECK(findings[0].file == "a.adp1");
    CHECK(findings[1].file == "b.adp1");
}

TEST_CASE("findings past the limit are counted and still decide the exit code", "[finding]") {
    Findings findings;
    for (std::uint32_t i = 0; i < limits::findings; ++i) {
        CHECK_FALSE(findings.full());
        findings.add(warning(FindingCode::unlisted_file));
    }
    CHECK(findings.full());
    CHECK(findings.dropped() == 0);
    CHECK(findings.exit_code() == ExitCode::ok);

    findings.add(error(FindingCode::checksum_mismatch));
    CHECK(findings.size() == limits::findings);
    CHECK(findings.dropped() == 1);
    CHECK(findings.has_errors());
    CHECK_FALSE(findings.contains(FindingCode::checksum_mismatch));
    CHECK(findings.exit_code() == ExitCode::drift);

    SECTION("appending keeps what fits, and what the other had dropped counts too") {
        Findings all;
        all.add(error(FindingCode::usage_error));
        all.append(std::move(findings));
        CHECK(all.size() == limits::findings);
        CHECK(all.dropped() == 2);
        CHECK(all[0].code == FindingCode::usage_error);
        CHECK(all.exit_code() == ExitCode::drift);
    }
}

}  // namespace
}  // namespace trlm::adapt

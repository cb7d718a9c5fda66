#include "document.hpp"

#include <algorithm>
#include <cstdlib>

#include "../hex.hpp"
#include "../stack_rules.hpp"

namespace trlm::adapt::document {
namespace {

constexpr std::string_view path_pattern =
    "^(?!.{256})(?!(.*/)?\\.{1,2}(/|$))[A-Za-z0-9._-]{1,100}(/[A-Za-z0-9._-]{1,100})*$";

/// A value as a finding shows it.
std::string shown(const Json& json) {
    constexpr std::size_t longest = 120;
    if (json.is_array() || json.is_object()) return json.type_name();
    std::string text = json.is_text() ? json.text() : json.dump();
    if (text.size() > longest) text.replace(longest, std::string::npos, "...");
    return text;
}

Json text_schema(std::string_view pattern) {
    return {{"type", "string"}, {"pattern", std::string(pattern)}};
}

bool has_control_character(std::string_view text) noexcept {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void compare_at(const std::string& pointer, const Json& stated, const Json& computed,
                Findings& findings) {
    if (stated.is_object() && computed.is_object()) {
        for (const auto& [key, value] : stated.members()) {
            if (const Json* const other = computed.find(key))
                compare_at(json_pointer(pointer, key), value, *other, findings);
        }
    } else if (stated != computed) {
        findings.add({.code = FindingCode::value_drift,
                      .message = "the document states another value than the file has; have it "
                                 "written anew, and look at what changed",
                      .pointer = pointer,
                      .expected = shown(computed),
                      .actual = shown(stated)});
    }
}

}  // namespace

void Place::refuse(const Json& value, std::string_view expected) const {
    add(FindingCode::bad_value,
        fmt::format("this is {}, but {} is expected here; correct it", shown(value), expected),
        std::string(expected), shown(value));
}

void Text::read(const Json& json, std::string& value, const Place& place) const {
    if (json.is_text()) {
        value = json.text();
        if (!value.empty() && value.size() <= longest && !has_control_character(value)) return;
    }
    place.refuse(json, "a text of 1 to 4096 bytes without control characters");
}

Json Text::schema() {
    return {{"type", "string"},
            {"minLength", 1},
            {"maxLength", longest},
            {"pattern", "^[^\\u0000-\\u001f\\u007f]*$"}};
}

void Constant::read(const Json& json, std::string& value, const Place& place) const {
    if (json.is_text() && json.text() == text) {
        value = text;
    } else {
        place.refuse(json, fmt::format("\"{}\"", text));
    }
}

void Path::read(const Json& json, std::string& value, const Place& place) const {
    if (!json.is_text()) {
        place.refuse(json, "a path");
        return;
    }
    value = json.text();
    if (is_document_path(value)) return;
    place.add(FindingCode::path_escape,
              "this path is not one that a document may hold: 1 to 255 characters, folders and "
              "file of 1 to 100 of A-Z a-z 0-9 . _ - each, separated by /, none of them . or ..; "
              "correct the path, or rename the file",
              "a relative path beneath the bundle", shown(json));
}

Json Path::schema() {
    return text_schema(path_pattern);
}

bool Integer::read_wide(const Json& json, std::uint64_t& value, const Place& place,
                        std::uint64_t widest) const {
    const std::uint64_t bound = std::min(most, widest);
    if (json.is_unsigned()) {
        value = json.unsigned_number();
        if (value >= least && value <= bound) return true;
    }
    place.refuse(json, fmt::format("an integer from {} to {}", least, bound));
    return false;
}

Json Integer::schema() const {
    return {{"type", "integer"}, {"minimum", least}, {"maximum", most}};
}

void Number::read(const Json& json, double& value, const Place& place) const {
    if (json.is_number()) {
        value = json.number();
        if (std::isfinite(value)) return;
    }
    place.refuse(json, "a finite number");
}

void Strength::read(const Json& json, float& value, const Place& place) const {
    if (json.is_number()) {
        if (const auto strength = usable_strength(json.number())) {
            value = *strength;
            return;
        }
    }
    place.refuse(json, "a strength, a number that as f32 is finite and not zero");
}

/// The double with the fewest digits that reads back to `value`: 0.1f becomes 0.1.
Json Strength::write(float value) {
    const double read = std::strtod(fmt::format("{}", value).c_str(), nullptr);
    return static_cast<float>(read) == value ? read : static_cast<double>(value);
}

void Checksum::read(const Json& json, std::uint64_t& value, const Place& place) const {
    if (json.is_text()) {
        if (const auto checksum = parse_checksum(json.text())) {
            value = *checksum;
            return;
        }
    }
    place.refuse(json, "xxh3-64: and 16 lower-case hex digits");
}

Json Checksum::schema() {
    return text_schema("^xxh3-64:[0-9a-f]{16}$");
}

void ContentDigestRule::read(const Json& json, ContentDigest& value, const Place& place) const {
    const auto digest = json.is_text() ? parse_content_digest(json.text()) : std::nullopt;
    if (!digest) {
        place.refuse(json, "sha256: and 64 lower-case hex digits");
        return;
    }
    value = *digest;
    if (!is_weak(*digest)) return;
    place.add(FindingCode::weak_digest,
              "this digest detects accidents, not deliberate change; use sha256, or allow weak "
              "digests where every file is trusted",
              "sha256", "xxh3-128",
              place.options->allow_weak_digests ? Severity::warning : Severity::error);
}

Json ContentDigestRule::schema() {
    return text_schema("^(sha256:[0-9a-f]{64}|xxh3-128:[0-9a-f]{32})$");
}

void HexDigest::read(const Json& json, Digest& value, const Place& place) const {
    if (json.is_text() && from_hex(json.text(), value.bytes)) return;
    place.refuse(json, "64 lower-case hex digits");
}

Json HexDigest::schema() {
    return text_schema("^[0-9a-f]{64}$");
}

std::optional<Json> Anything::parsed(const std::string& value) {
    // The parser reads objects only.
    const auto document = parse_json("{\"value\":" + value + "}",
                                     {.max_bytes = std::numeric_limits<std::uint64_t>::max(),
                                      .max_depth = limits::json_depth + 1});
    if (!document) throw_if_out_of_memory(document.error());
    if (!document || document->members().size() != 1) return std::nullopt;
    return document->members().front().value;
}

void Boolean::read(const Json& json, bool& value, const Place& place) const {
    if (json.is_boolean()) {
        value = json.boolean();
    } else {
        place.refuse(json, "true or false");
    }
}

void FieldReader::finish() const {
    for (const auto& [key, value] : object_.members()) {
        if (known_.contains(key)) continue;
        place_.member(key).add(FindingCode::unknown_key,
                               "no document of this kind has this key; remove it, or correct its "
                               "spelling");
        if (place_.findings->full()) return;
    }
}

Result<Json> parse(std::string_view text, std::string_view schema, const DocumentOptions& options) {
    Result<Json> json =
        parse_json(text, {.max_bytes = options.max_bytes, .max_depth = limits::json_depth});
    if (!json) return json;
    Findings findings;
    const Place place{"/schema", &findings, &options};
    const Json* const stated = json->find("schema");
    if (stated == nullptr) {
        place.add(FindingCode::missing_key,
                  fmt::format("the document names no schema; \"{}\" is expected here", schema),
                  std::string(schema));
    } else if (*stated != schema) {
        place.add(FindingCode::schema_unsupported,
                  fmt::format("this document's schema is {}, but {} is expected here; give the "
                              "right document, or update trlm-adapt",
                              shown(*stated), schema),
                  std::string(schema), shown(*stated));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return json;
}

std::string print(const Json& document) {
    return document.dump_indented() + '\n';
}

Findings compare(const Json& stated, const Json& computed) {
    Findings findings;
    compare_at("", stated, computed, findings);
    return findings;
}

void Names::add_id(const std::string& id, const Place& place) {
    if (ids_.insert(id).second) return;
    place.add(FindingCode::duplicate_id, "this id stands here more than once; give each its own");
}

void Names::add_path(const std::string& path, const Place& place) {
    const auto [other, added] = paths_.emplace(folded_path(path), path);
    if (added || other->second == path) return;
    place.add(FindingCode::path_collision,
              fmt::format("this path and {} differ in upper and lower case only, so that some "
                          "systems take them for one file; rename one",
                          other->second));
}

}  // namespace trlm::adapt::document

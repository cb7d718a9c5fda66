#pragma once
// Documents as data: one description of a document's fields serves to read it, to write it and to
// publish its schema. A rule says all of that about one kind of value; `describe`, found by the
// type of the document, lists the fields with their rules.

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include "../guard.hpp"
#include "../json.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/receipt/file_ref.hpp"

namespace trlm::adapt::document {

/// Where a value stands, and what to do with what is wrong with it.
struct Place {
    std::string pointer;
    Findings* findings = nullptr;
    const DocumentOptions* options = nullptr;

    [[nodiscard]] Place member(std::string_view key) const {
        return {json_pointer(pointer, key), findings, options};
    }
    [[nodiscard]] Place element(std::size_t index) const {
        return {fmt::format("{}/{}", pointer, index), findings, options};
    }

    void add(FindingCode code, std::string message, std::string expected = {},
             std::string actual = {}, Severity severity = Severity::error) const {
        findings->add({.code = code,
                       .message = std::move(message),
                       .severity = severity,
                       .pointer = pointer,
                       .expected = std::move(expected),
                       .actual = std::move(actual)});
    }

    /// A value that is not what the rule asks for.
    void refuse(const Json& value, std::string_view expected) const;
};

// ------------------------------------------------------------------------------ rules of one value

/// A text of at least one character, without control characters.
struct Text {
    static constexpr std::size_t longest = 4096;
    void read(const Json& json, std::string& value, const Place& place) const;
    [[nodiscard]] static Json write(const std::string& value) { return value; }
    [[nodiscard]] static Json schema();
};

/// The one text that is allowed here.
struct Constant {
    std::string_view text;
    void read(const Json& json, std::string& value, const Place& place) const;
    [[nodiscard]] Json write(const std::string&) const { return std::string(text); }
    [[nodiscard]] Json schema() const { return {{"const", std::string(text)}}; }
};

/// A path as documents hold them.
struct Path {
    void read(const Json& json, std::string& value, const Place& place) const;
    [[nodiscard]] static Json write(const std::string& value) { return value; }
    [[nodiscard]] static Json schema();
};

inline constexpr std::uint64_t largest_integer = (std::uint64_t{1} << 53) - 1;

/// An integer from `least` to `most`.
struct Integer {
    std::uint64_t least = 0;
    std::uint64_t most = largest_integer;
    template <class T>
    void read(const Json& json, T& value, const Place& place) const {
        std::uint64_t wide = 0;
        if (read_wide(json, wide, place, std::numeric_limits<T>::max()))
            value = static_cast<T>(wide);
    }
    [[nodiscard]] static Json write(std::uint64_t value) { return value; }
    [[nodiscard]] Json schema() const;

private:
    bool read_wide(const Json& json, std::uint64_t& value, const Place& place,
                   std::uint64_t widest) const;
};

/// A finite number.
struct Number {
    void read(const Json& json, double& value, const Place& place) const;
    [[nodiscard]] static Json write(double value) { return value; }
    [[nodiscard]] static Json schema() { return {{"type", "number"}}; }
};

/// A strength: a number that, rounded to f32, is finite and not zero.
struct Strength {
    void read(const Json& json, float& value, const Place& place) const;
    [[nodiscard]] static Json write(float value);
    [[nodiscard]] static Json schema() { return {{"type", "number"}, {"not", {{"const", 0}}}}; }
};

/// A stored checksum: "xxh3-64:" and 16 digits.
struct Checksum {
    void read(const Json& json, std::uint64_t& value, const Place& place) const;
    [[nodiscard]] static Json write(std::uint64_t value) { return format_checksum(value); }
    [[nodiscard]] static Json schema();
};

/// "sha256:..." or, where allowed, "xxh3-128:...".
struct ContentDigestRule {
    void read(const Json& json, ContentDigest& value, const Place& place) const;
    [[nodiscard]] static Json write(const ContentDigest& value) { return to_string(value); }
    [[nodiscard]] static Json schema();
};

/// 64 hex digits.
struct HexDigest {
    void read(const Json& json, Digest& value, const Place& place) const;
    [[nodiscard]] static Json write(const Digest& value) { return to_hex(value.bytes); }
    [[nodiscard]] static Json schema();
};

/// Any JSON value, kept as text.
struct Anything {
    static void read(const Json& json, std::string& value, const Place&) { value = json.dump(); }
    [[nodiscard]] static Json write(const std::string& value) {
        return parsed(value).value_or(Json());
    }
    /// Nothing when the text is not JSON.
    [[nodiscard]] static std::optional<Json> parsed(const std::string& value);
    [[nodiscard]] static Json schema() { return Json::object(); }
};

/// One of a fixed set of names; name i stands for value i of the enum.
template <class Enum, std::size_t count>
struct Choice {
    std::array<std::string_view, count> names;

    void read(const Json& json, Enum& value, const Place& place) const {
        if (json.is_text()) {
            const auto& text = json.text();
            for (std::size_t i = 0; i < count; ++i) {
                if (names[i] != text) continue;
                value = static_cast<Enum>(i);
                return;
            }
        }
        place.refuse(json, fmt::format("one of {}", fmt::join(names, ", ")));
    }
    [[nodiscard]] Json write(Enum value) const {
        return std::string(names[static_cast<std::size_t>(value)]);
    }
    [[nodiscard]] Json schema() const {
        Json all = Json::array();
        for (const std::string_view name : names)
            all.elements().emplace_back(name);
        return {{"enum", std::move(all)}};
    }
};

template <class Enum, class... Names>
constexpr auto choice(Names... names) {
    return Choice<Enum, sizeof...(Names)>{{std::string_view(names)...}};
}

/// A yes or no.
struct Boolean {
    void read(const Json& json, bool& value, const Place& place) const;
    [[nodiscard]] static Json write(bool value) { return value; }
    [[nodiscard]] static Json schema() { return {{"type", "boolean"}}; }
};

// -------------------------------------------------------------------------- rules of rules

/// A value, or null.
template <class Rule>
struct OrNull {
    Rule rule;
    template <class T>
    void read(const Json& json, std::optional<T>& value, const Place& place) const {
        value.reset();
        if (!json.is_null()) rule.read(json, value.emplace(), place);
    }
    template <class T>
    [[nodiscard]] Json write(const std::optional<T>& value) const {
        return value ? rule.write(*value) : Json(nullptr);
    }
    [[nodiscard]] Json schema() const {
        return {{"anyOf", Json::array({rule.schema(), Json{{"type", "null"}}})}};
    }
};
template <class Rule>
OrNull(Rule) -> OrNull<Rule>;

/// A value whose key may be missing: then it stays what it is by default.
template <class Rule>
struct Optional {
    static constexpr bool may_be_missing = true;
    Rule rule;
    template <class T>
    void read(const Json& json, T& value, const Place& place) const {
        rule.read(json, value, place);
    }
    template <class T>
    [[nodiscard]] Json write(const T& value) const {
        return rule.write(value);
    }
    [[nodiscard]] Json schema() const { return rule.schema(); }
};
template <class Rule>
Optional(Rule) -> Optional<Rule>;

template <class Rule>
constexpr bool may_be_missing() {
    return requires {
        Rule::may_be_missing;
    };
}

/// An array of `least` to `most` values.
template <class Rule>
struct Each {
    Rule rule;
    std::size_t least = 0;
    std::size_t most = std::numeric_limits<std::size_t>::max();

    template <class T>
    void read(const Json& json, std::vector<T>& values, const Place& place) const {
        values.clear();
        if (!json.is_array()) {
            place.refuse(json, "array");
            return;
        }
        const Json::Array& elements = json.elements();
        if (elements.size() < least || elements.size() > most) {
            // The longest lists are those of the limits table.
            place.add(
                elements.size() < least ? FindingCode::bad_value : FindingCode::limit_exceeded,
                fmt::format("there are {} values here, but {}; correct the list", elements.size(),
                            bounds()),
                bounds(), fmt::format("{}", elements.size()));
        }
        for (std::size_t i = 0; i < elements.size(); ++i) {
            // A value takes far more room than `{}`: those of a document that is refused anyway
            // are not read once nothing more is kept of what is wrong with them.
            if (place.findings->full() && place.findings->exit_code() == ExitCode::invalid) return;
            rule.read(elements[i], values.emplace_back(), place.element(i));
        }
    }
    template <class T>
    [[nodiscard]] Json write(const std::vector<T>& values) const {
        Json array = Json::array();
        for (const T& value : values)
            array.elements().push_back(rule.write(value));
        return array;
    }
    [[nodiscard]] Json schema() const {
        Json schema = {{"type", "array"}, {"items", rule.schema()}};
        if (least > 0) schema["minItems"] = least;
        if (most < std::numeric_limits<std::size_t>::max()) schema["maxItems"] = most;
        return schema;
    }

private:
    [[nodiscard]] std::string bounds() const {
        if (most == std::numeric_limits<std::size_t>::max())
            return fmt::format("at least {} expected", least);
        return fmt::format("{} to {} expected", least, most);
    }
};

// ------------------------------------------------------------------------------ objects

/// Reads the fields of one object as `describe` names them; then what is left is unknown.
class FieldReader {
public:
    FieldReader(const Json& object, const Place& place) : object_(object), place_(place) {}

    template <class T, class Rule>
    void operator()(std::string_view key, T& value, const Rule& rule) {
        known_.insert(key);
        if (const auto member = object_.find(key); member != nullptr) {
            rule.read(*member, value, place_.member(key));
        } else if constexpr (!may_be_missing<Rule>()) {
            place_.member(key).add(FindingCode::missing_key,
                                   fmt::format("the key \"{}\" is missing; add it", key));
        }
    }

    /// A key that the reader of the whole document took already.
    void known(std::string_view key) { known_.insert(key); }

    void finish() const;

private:
    const Json& object_;
    const Place& place_;
    std::set<std::string_view> known_;
};

/// Writes the fields of one object.
struct FieldWriter {
    Json& object;
    template <class T, class Rule>
    void operator()(std::string_view key, const T& value, const Rule& rule) const {
        object[key] = rule.write(value);
    }
};

/// Gathers the schema of one object.
struct FieldSchemas {
    Json& properties;
    Json& required;
    template <class T, class Rule>
    void operator()(std::string_view key, const T&, const Rule& rule) const {
        properties[key] = rule.schema();
        if constexpr (!may_be_missing<Rule>()) required.elements().emplace_back(key);
    }
};

/// Schema of an object with the fields of T.
template <class T>
Json object_schema(Json properties = Json::object(), Json required = Json::array()) {
    T value{};
    FieldSchemas fields{properties, required};
    describe(fields, value);
    return {{"type", "object"},
            {"additionalProperties", false},
            {"required", std::move(required)},
            {"properties", std::move(properties)}};
}

/// An object with the fields that `describe` lists for T.
template <class T>
struct Object {
    void read(const Json& json, T& value, const Place& place) const {
        if (!json.is_object()) {
            place.refuse(json, "object");
            return;
        }
        FieldReader fields(json, place);
        describe(fields, value);
        fields.finish();
    }
    [[nodiscard]] Json write(const T& value) const {
        Json object = Json::object();
        FieldWriter fields{object};
        describe(fields, const_cast<T&>(value));  // a writer changes nothing
        return object;
    }
    [[nodiscard]] Json schema() const { return object_schema<T>(); }
};

// ------------------------------------------------------------------------------ whole documents

/// The outermost object of `text`, whose schema must be `schema`.
[[nodiscard]] Result<Json> parse(std::string_view text, std::string_view schema,
                                 const DocumentOptions& options);

/// Two-space indented, one trailing newline.
[[nodiscard]] std::string print(const Json& document);

/// A document of type T: strict reading, then `check`, which judges what no single field tells.
template <class T, class Check>
[[nodiscard]] Result<T> read(std::string_view text, std::string_view schema,
                             const DocumentOptions& options, const Check& check) {
    return guarded([&]() -> Result<T> {
        const Result<Json> json = parse(text, schema, options);
        if (!json) return failure(json.error());
        Findings findings;
        const Place root{"", &findings, &options};
        T value{};
        FieldReader fields(*json, root);
        fields.known("schema");
        describe(fields, value);
        fields.finish();
        if (!findings.has_errors()) check(value, root);
        if (findings.has_errors()) return failure(std::move(findings));
        if (options.warnings != nullptr) options.warnings->append(std::move(findings));
        return value;
    });
}

template <class T>
[[nodiscard]] Result<T> read(std::string_view text, std::string_view schema,
                             const DocumentOptions& options) {
    return read<T>(text, schema, options, [](const T&, const Place&) {});
}

/// The JSON of a document.
template <class T>
[[nodiscard]] Json to_json(const T& value, std::string_view schema) {
    Json object = {{"schema", std::string(schema)}};
    FieldWriter fields{object};
    describe(fields, const_cast<T&>(value));  // a writer changes nothing
    return object;
}

/// The bytes of a document.
template <class T>
[[nodiscard]] std::string write(const T& value, std::string_view schema) {
    return print(to_json(value, schema));
}

/// The JSON Schema of a document.
template <class T>
[[nodiscard]] Json schema_of(std::string_view schema, std::string_view title) {
    Json document = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                     {"title", std::string(title)}};
    Json object = object_schema<T>(Json{{"schema", {{"const", std::string(schema)}}}},
                                   Json::array({"schema"}));
    for (auto& [key, value] : object.members())
        document[key] = std::move(value);
    return document;
}

/// `value_drift` for every value of `stated` that is another in `computed`; both have one form.
[[nodiscard]] Findings compare(const Json& stated, const Json& computed);

/// Finds two names that are equal, or two paths that differ in case only.
class Names {
public:
    /// Adds the name at `place`; `duplicate_id` when it stands there already.
    void add_id(const std::string& id, const Place& place);
    /// Adds a path; `path_collision` when it folds to one that is spelt otherwise.
    void add_path(const std::string& path, const Place& place);

private:
    std::set<std::string> ids_;
    std::map<std::string, std::string> paths_;  // folded -> as spelt
};

}  // namespace trlm::adapt::document

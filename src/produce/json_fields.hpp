#pragma once
// Documents of other programs: fields of known types, what is wrong with them as findings.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "json.hpp"
#include "trlm/adapt/finding.hpp"

namespace trlm::adapt {

/// One object of a document. A field that is null counts as absent, as in Python's `None`.
class JsonFields {
public:
    /// `object` and `findings` must outlive this; `pointer` leads to the object.
    JsonFields(const Json& object, Findings& findings, std::string pointer = {})
        : object_(object), findings_(findings), pointer_(std::move(pointer)) {}

    /// The value, or nullptr when it is absent or null.
    [[nodiscard]] const Json* find(std::string_view key) const;

    /// A whole number from 1 to 2^32-1; `bad_value` for anything else. Absent: nothing.
    [[nodiscard]] std::optional<std::uint32_t> count(std::string_view key) const;

    /// A whole number from 0 on.
    [[nodiscard]] std::optional<std::uint32_t> id(std::string_view key) const;

    /// A number that is finite.
    [[nodiscard]] std::optional<double> number(std::string_view key) const;

    /// true or false; absent is `otherwise`.
    [[nodiscard]] bool flag(std::string_view key, bool otherwise) const;

    /// A text.
    [[nodiscard]] std::optional<std::string> text(std::string_view key) const;

    /// The count of a key that must be there: `missing_key`, and 0.
    [[nodiscard]] std::uint32_t required_count(std::string_view key) const;

    /// A finding about a key.
    void add(FindingCode code, std::string_view key, std::string message, std::string expected = {},
             std::string actual = {}) const;

    /// `bad_value`: the key's value is not what it must be.
    void wrong(std::string_view key, std::string_view must_be) const;

private:
    const Json& object_;
    Findings& findings_;
    std::string pointer_;
};

/// The value as JSON on one line, cut where it is long.
[[nodiscard]] std::string shown(const Json& value);

}  // namespace trlm::adapt

#include "produce/json_fields.hpp"

#include <limits>

#include <fmt/format.h>

#include "json.hpp"

namespace trlm::adapt {
namespace {

std::optional<std::uint32_t> whole(const Json& value, std::uint64_t least) {
    if (!value.is_unsigned()) return std::nullopt;
    const auto number = value.unsigned_number();
    if (number < least || number > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
    return static_cast<std::uint32_t>(number);
}

}  // namespace

std::string shown(const Json& value) {
    constexpr std::size_t longest = 80;
    std::string text = value.dump();
    if (text.size() <= longest) return text;
    return text.substr(0, longest) + "...";
}

const Json* JsonFields::find(std::string_view key) const {
    const Json* const found = object_.find(key);
    return found == nullptr || found->is_null() ? nullptr : found;
}

void JsonFields::add(FindingCode code, std::string_view key, std::string message,
                     std::string expected, std::string actual) const {
    findings_.add({.code = code,
                   .message = std::move(message),
                   .pointer = json_pointer(pointer_, key),
                   .expected = std::move(expected),
                   .actual = std::move(actual)});
}

void JsonFields::wrong(std::string_view key, std::string_view must_be) const {
    const std::string actual = shown(object_[key]);
    add(FindingCode::bad_value, key, fmt::format("{} is {}, but must be {}", key, actual, must_be),
        std::string(must_be), actual);
}

std::optional<std::uint32_t> JsonFields::count(std::string_view key) const {
    const Json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto number = whole(*value, 1);
    if (!number) wrong(key, "a whole number from 1 to 4294967295");
    return number;
}

std::optional<std::uint32_t> JsonFields::id(std::string_view key) const {
    const Json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto number = whole(*value, 0);
    if (!number) wrong(key, "a whole number from 0 to 4294967295");
    return number;
}

std::optional<double> JsonFields::number(std::string_view key) const {
    const Json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    // `parse_json` lets no number through that is not finite.
    if (value->is_number()) return value->number();
    wrong(key, "a number");
    return std::nullopt;
}

bool JsonFields::flag(std::string_view key, bool otherwise) const {
    const Json* const value = find(key);
    if (value == nullptr) return otherwise;
    if (value->is_boolean()) return value->boolean();
    wrong(key, "true or false");
    return otherwise;
}

std::optional<std::string> JsonFields::text(std::string_view key) const {
    const Json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_text()) return value->text();
    wrong(key, "a text");
    return std::nullopt;
}

std::uint32_t JsonFields::required_count(std::string_view key) const {
    if (find(key) == nullptr) {
        add(FindingCode::missing_key, key, fmt::format("{} is missing; add it", key));
        return 0;
    }
    return count(key).value_or(0);
}

}  // namespace trlm::adapt

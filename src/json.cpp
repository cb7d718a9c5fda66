#include "json.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "fp_environment.hpp"
#include "guard.hpp"

namespace trlm::adapt {
namespace {

// A pointer of keys that would be longer ends at the deepest value whose pointer still fits, so
// that a thousand findings about huge keys stay small.
constexpr std::size_t max_pointer_bytes = 1024;

// Reads the text and tells how far the lexer has come.
class TextIterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    TextIterator(const char* at, const char** reached) noexcept : at_(at), reached_(reached) {}

    reference operator*() const noexcept { return *at_; }
    TextIterator& operator++() noexcept {
        *reached_ = ++at_;
        return *this;
    }
    friend bool operator==(const TextIterator& a, const TextIterator& b) noexcept {
        return a.at_ == b.at_;
    }

private:
    const char* at_;
    const char** reached_;
};

std::string escaped_segment(std::string_view key) {
    std::string segment = "/";
    for (const char c : key) {
        if (c == '~') {
            segment += "~0";
        } else if (c == '/') {
            segment += "~1";
        } else {
            segment += c;
        }
    }
    return segment;
}

// "parse error at line 1, column 2: syntax error while parsing value - invalid literal; last
// read: 'x'" without its position, which the finding has, and without the text of the input.
std::string syntax_reason(std::string_view what) {
    if (const auto column = what.find("column "); column != std::string_view::npos) {
        what.remove_prefix(std::min(what.find(": ", column), what.size() - 2) + 2);
    }
    what = what.substr(0, what.find("; last read: '"));
    constexpr std::string_view opening = "syntax error while ";
    if (what.starts_with(opening)) what.remove_prefix(opening.size());
    return std::string(what.substr(0, 200));
}

// Builds the document and refuses what the grammar allows but this project does not.
class DocumentBuilder {
public:
    using number_integer_t = nlohmann::json::number_integer_t;
    using number_unsigned_t = nlohmann::json::number_unsigned_t;
    using number_float_t = nlohmann::json::number_float_t;
    using string_t = nlohmann::json::string_t;
    using binary_t = nlohmann::json::binary_t;

    DocumentBuilder(std::string_view text, const JsonRules& rules, const char* const& reached)
        : text_(text), rules_(rules), reached_(reached) {}

    bool null() { return add_scalar(nullptr); }
    bool boolean(bool value) { return add_scalar(value); }
    bool number_integer(number_integer_t value) {
        return add_scalar(Json::negative_integer(value));
    }
    bool number_unsigned(number_unsigned_t value) { return add_scalar(value); }
    bool number_float(number_float_t value, const string_t&) { return add_scalar(value); }
    bool string(string_t& value) { return add_scalar(std::move(value)); }
    bool binary(binary_t&) { return false; }

    bool start_object(std::size_t) { return open(Json::object()); }
    bool start_array(std::size_t) { return open(Json::array()); }
    bool end_object() { return close(); }
    bool end_array() { return close(); }

    bool key(string_t& name) {
        Level& level = levels_.back();
        level.key = std::move(name);
        level.reading_member = true;
        if (!level.keys.insert(level.key).second && !findings_.full()) {
            findings_.add({.code = FindingCode::duplicate_key,
                           .message = "this key stands more than once in its object, so readers "
                                      "may disagree about its value; keep one of them",
                           .offset = key_offset(),
                           .pointer = pointer()});
        }
        return true;
    }

    bool parse_error(std::size_t position, const std::string&,
                     const nlohmann::detail::exception& error) {
        // `position` counts the characters read, the offending one included.
        const std::size_t offset = std::min(position == 0 ? 0 : position - 1, text_.size());
        const std::string_view before = text_.substr(0, offset);
        const auto line_end = before.rfind('\n');
        const std::size_t line_start = line_end == std::string_view::npos ? 0 : line_end + 1;
        findings_.add(
            {.code = FindingCode::bad_json,
             .message = fmt::format("line {}, column {} is not valid JSON ({}); correct it there",
                                    std::ranges::count(before, '\n') + 1, offset - line_start + 1,
                                    syntax_reason(error.what())),
             .offset = offset,
             .pointer = pointer()});
        return false;
    }

    [[nodiscard]] Findings take_findings() noexcept { return std::move(findings_); }
    [[nodiscard]] Json take_document() noexcept { return std::move(document_); }

private:
    // An object or array whose end has not been read. It does not move while it is open, because
    // its parent gets no further members.
    struct Level {
        Json* value;
        std::string key = {};             // of an object's member that was read last
        std::set<std::string> keys = {};  // ordered: no choice of keys makes it slow
        bool reading_member = false;      // between the key and the end of its value
    };

    // The new value in its place, or nullptr when parsing must stop.
    Json* add(Json value) {
        if (levels_.empty()) {
            if (!value.is_object()) {
                findings_.add({.code = FindingCode::bad_json,
                               .message = fmt::format("the document is {}, but one object is "
                                                      "expected; put it between braces",
                                                      value.type_name()),
                               .offset = text_.find_first_not_of(" \t\r\n"),
                               .expected = "object",
                               .actual = value.type_name()});
                return nullptr;
            }
            document_ = std::move(value);
            return &document_;
        }
        Level& level = levels_.back();
        if (level.value->is_array()) {
            return &level.value->elements().emplace_back(std::move(value));
        }
        // The keys are known to differ, or the document is refused.
        Json::Object& members = level.value->members();
        members.push_back({level.key, std::move(value)});
        return &members.back().value;
    }

    bool open(Json container) {
        if (levels_.size() >= rules_.max_depth) {
            findings_.add({.code = FindingCode::limit_exceeded,
                           .message = fmt::format("values are nested more than {} levels deep; "
                                                  "flatten the document",
                                                  rules_.max_depth),
                           .offset = offset() - 1,
                           .pointer = pointer(),
                           .expected = fmt::format("at most {}", rules_.max_depth),
                           .actual = fmt::format("{}", levels_.size() + 1)});
            return false;
        }
        Json* const value = add(std::move(container));
        if (value == nullptr) return false;
        levels_.push_back({.value = value});
        return true;
    }

    bool close() {
        levels_.pop_back();
        if (!levels_.empty()) levels_.back().reading_member = false;
        return true;
    }

    bool add_scalar(Json value) {
        if (add(std::move(value)) == nullptr) return false;
        levels_.back().reading_member = false;
        return true;
    }

    // Just past what the lexer has read.
    [[nodiscard]] std::uint64_t offset() const noexcept {
        return static_cast<std::uint64_t>(reached_ - text_.data());
    }

    // Of the opening quote of the key that was just read: the last quote before the closing one
    // that no odd run of backslashes escapes.
    [[nodiscard]] std::uint64_t key_offset() const noexcept {
        const std::string_view read = text_.substr(0, offset() - 1);
        std::size_t quote = read.rfind('"');
        while (quote != std::string_view::npos && quote > 0) {
            std::size_t backslash = quote;
            while (backslash > 0 && read[backslash - 1] == '\\')
                --backslash;
            if ((quote - backslash) % 2 == 0) break;
            quote = read.rfind('"', quote - 1);
        }
        return quote;
    }

    // Of the value being read, or of the object or array between two of them.
    [[nodiscard]] std::string pointer() const {
        std::string result;
        for (const Level& level : levels_) {
            const bool innermost = &level == &levels_.back();
            std::string segment;
            if (level.value->is_array()) {
                // An open value already stands at the end of its array.
                segment = fmt::format("/{}", level.value->elements().size() - (innermost ? 0 : 1));
            } else if (level.reading_member) {
                segment = escaped_segment(level.key);
            }
            if (result.size() + segment.size() > max_pointer_bytes) break;
            result += segment;
        }
        return result;
    }

    std::string_view text_;
    const JsonRules& rules_;
    const char* const& reached_;
    Json document_;
    std::vector<Level> levels_;
    Findings findings_;
};

// What the parser would take without a word: it skips a BOM, and a NUL is its end of input.
Findings judge_text(std::string_view text, const JsonRules& rules) {
    Findings findings;
    if (text.size() > rules.max_bytes) {
        findings.add({.code = FindingCode::limit_exceeded,
                      .message = fmt::format("the document has {} bytes, but at most {} are read; "
                                             "shorten it",
                                             text.size(), rules.max_bytes),
                      .expected = fmt::format("at most {}", rules.max_bytes),
                      .actual = fmt::format("{}", text.size())});
        return findings;
    }
    if (text.starts_with("\xef\xbb\xbf")) {
        findings.add({.code = FindingCode::bad_json,
                      .message = "the document starts with a byte order mark; save it as UTF-8 "
                                 "without one",
                      .offset = 0});
    }
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        findings.add({.code = FindingCode::bad_json,
                      .message = "the document contains a NUL byte, which no JSON text may; "
                                 "remove it",
                      .offset = nul});
    }
    return findings;
}

/// A text or number as JSON. Scalars of nlohmann_json are destroyed without memory.
std::string scalar_text(const nlohmann::json& scalar) {
    return scalar.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Json::Json(std::string value) : value_(Boxed<std::string>(std::move(value))) {}
Json::Json(std::string_view value) : Json(std::string(value)) {}
Json::Json(const char* value) : Json(std::string(value)) {}
Json::Json(std::initializer_list<Member> members) : Json(Object(members)) {}
Json::Json(Array elements) : value_(Boxed<Array>(std::move(elements))) {}
Json::Json(Object members) : value_(Boxed<Object>(std::move(members))) {}

Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;

Json& Json::operator=(const Json& other) {
    return *this = Json(other);
}

Json& Json::operator=(Json&& other) noexcept {
    Json taken = std::move(other);  // it may be a part of this
    std::swap(value_, taken.value_);
    return *this;
}

Json::~Json() = default;

Json Json::negative_integer(std::int64_t value) noexcept {
    Json result;
    result.value_ = value;
    return result;
}

Json Json::object() {
    return Json(Object());
}

Json Json::array(std::initializer_list<Json> elements) {
    return Json(Array(elements));
}

const char* Json::type_name() const noexcept {
    if (is_null()) return "null";
    if (is_boolean()) return "boolean";
    if (is_number()) return "number";
    if (is_text()) return "string";
    return is_array() ? "array" : "object";
}

double Json::number() const noexcept {
    if (const auto* natural = std::get_if<std::uint64_t>(&value_)) {
        return static_cast<double>(*natural);
    }
    if (const auto* negative = std::get_if<std::int64_t>(&value_)) {
        return static_cast<double>(*negative);
    }
    return *std::get_if<double>(&value_);
}

const Json* Json::find(std::string_view key) const noexcept {
    if (!is_object()) return nullptr;
    const auto found = std::ranges::find(members(), key, &Member::key);
    return found == members().end() ? nullptr : &found->value;
}

const Json& Json::operator[](std::string_view key) const noexcept {
    static const Json none;
    const Json* const found = find(key);
    return found == nullptr ? none : *found;
}

Json& Json::operator[](std::string_view key) {
    const auto found = std::ranges::find(members(), key, &Member::key);
    if (found != members().end()) return found->value;
    members().push_back({std::string(key), {}});
    return members().back().value;
}

void Json::print(std::string& text, bool indented, std::size_t level) const {
    const auto list = [&](char open, const auto& items, char close, const auto& print_item) {
        const auto new_line = [&](std::size_t depth) {
            if (indented) text.append(1, '\n').append(2 * depth, ' ');
        };
        text += open;
        bool first = true;
        for (const auto& item : items) {
            if (!std::exchange(first, false)) text += ',';
            new_line(level + 1);
            print_item(item);
        }
        if (!items.empty()) new_line(level);
        text += close;
    };
    if (is_object()) {
        list('{', members(), '}', [&](const Member& member) {
            text += scalar_text(member.key) + (indented ? ": " : ":");
            member.value.print(text, indented, level + 1);
        });
    } else if (is_array()) {
        list('[', elements(), ']',
             [&](const Json& element) { element.print(text, indented, level + 1); });
    } else if (is_text()) {
        text += scalar_text(this->text());
    } else if (is_boolean()) {
        text += boolean() ? "true" : "false";
    } else if (is_null()) {
        text += "null";
    } else if (is_unsigned()) {
        text += std::to_string(unsigned_number());
    } else if (is_negative_integer()) {
        text += std::to_string(*std::get_if<std::int64_t>(&value_));
    } else {
        text += scalar_text(number());
    }
}

std::string Json::dump() const {
    std::string text;
    print(text, false, 0);
    return text;
}

std::string Json::dump_indented() const {
    std::string text;
    print(text, true, 0);
    return text;
}

bool operator==(const Json& a, const Json& b) noexcept {
    if (a.value_.index() != b.value_.index()) {
        return a.is_number() && b.is_number() && a.number() == b.number();
    }
    if (a.is_text()) return a.text() == b.text();
    if (a.is_array()) return a.elements() == b.elements();
    if (a.is_object()) return a.members() == b.members();
    if (a.is_boolean()) return a.boolean() == b.boolean();
    if (a.is_unsigned()) return a.unsigned_number() == b.unsigned_number();
    if (a.is_negative_integer()) {
        return *std::get_if<std::int64_t>(&a.value_) == *std::get_if<std::int64_t>(&b.value_);
    }
    return a.is_null() || a.number() == b.number();
}

std::string json_pointer(std::string_view parent, std::string_view key) {
    std::string pointer(parent);
    const std::string segment = escaped_segment(key);
    if (pointer.size() + segment.size() <= max_pointer_bytes) pointer += segment;
    return pointer;
}

Result<Json> parse_json(std::string_view text, const JsonRules& rules) {
    return guarded([&]() -> Result<Json> {
        Findings findings = judge_text(text, rules);
        if (findings.has_errors()) return failure(std::move(findings));
        const FpEnvironment environment;  // numbers are rounded to the nearest double
        const char* reached = text.data();
        DocumentBuilder builder(text, rules, reached);
        const bool parsed =
            nlohmann::json::sax_parse(TextIterator(text.data(), &reached),
                                      TextIterator(text.data() + text.size(), &reached), &builder);
        findings = builder.take_findings();
        if (!parsed || findings.has_errors()) return failure(std::move(findings));
        return builder.take_document();
    });
}

}  // namespace trlm::adapt

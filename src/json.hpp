#pragma once
// JSON: a tree of values, and the strict reader of metadata and every document.
//
// nlohmann_json reads the text and prints texts and numbers. The tree is ours, because that of
// nlohmann_json (3.11) needs memory to be taken apart: where there is none, the host's program
// would end in a destructor.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "trlm/adapt/bytes.hpp"
#include "trlm/adapt/result.hpp"

namespace trlm::adapt {

/// A JSON value: 16 bytes, and what is large on the heap. Objects keep the order of their keys;
/// finding one is O(members). Making and copying may throw std::bad_alloc; moving and destroying
/// never allocate. What recurses does so as deep as the value is.
class Json {
public:
    struct Member;
    using Array = std::vector<Json>;
    using Object = std::vector<Member>;

    /// null
    Json() noexcept = default;
    // NOLINTBEGIN(google-explicit-constructor): whatever is a JSON value is a Json
    Json(std::nullptr_t) noexcept {}
    template <std::integral T>
    Json(T value) noexcept {
        if constexpr (std::same_as<T, bool>) {
            value_ = value;
        } else if (std::in_range<std::uint64_t>(value)) {
            value_ = static_cast<std::uint64_t>(value);
        } else {
            value_ = static_cast<std::int64_t>(value);
        }
    }
    Json(double value) noexcept : value_(value) {}
    Json(std::string value);
    Json(std::string_view value);
    Json(const char* value);
    /// An array.
    template <std::convertible_to<Json> T>
    Json(const std::vector<T>& elements) : Json(Array(elements.begin(), elements.end())) {}
    // NOLINTEND(google-explicit-constructor)
    /// An object.
    Json(std::initializer_list<Member> members);

    Json(const Json& other);
    Json(Json&& other) noexcept;
    Json& operator=(const Json& other);
    Json& operator=(Json&& other) noexcept;
    ~Json();

    [[nodiscard]] static Json negative_integer(std::int64_t value) noexcept;
    [[nodiscard]] static Json object();
    [[nodiscard]] static Json array(std::initializer_list<Json> elements = {});

    [[nodiscard]] bool is_null() const noexcept { return holds<std::monostate>(); }
    [[nodiscard]] bool is_boolean() const noexcept { return holds<bool>(); }
    [[nodiscard]] bool is_text() const noexcept { return holds<Boxed<std::string>>(); }
    [[nodiscard]] bool is_array() const noexcept { return holds<Boxed<Array>>(); }
    [[nodiscard]] bool is_object() const noexcept { return holds<Boxed<Object>>(); }
    /// A number without fraction and exponent, from 0 to 2^64-1.
    [[nodiscard]] bool is_unsigned() const noexcept { return holds<std::uint64_t>(); }
    /// One with a minus sign, from -2^63 to -0.
    [[nodiscard]] bool is_negative_integer() const noexcept { return holds<std::int64_t>(); }
    [[nodiscard]] bool is_number() const noexcept {
        return is_unsigned() || is_negative_integer() || holds<double>();
    }
    /// "null", "boolean", "number", "string", "array" or "object".
    [[nodiscard]] const char* type_name() const noexcept;

    // The value itself, where the question above was answered with yes.

    [[nodiscard]] bool boolean() const noexcept { return *std::get_if<bool>(&value_); }
    [[nodiscard]] std::uint64_t unsigned_number() const noexcept {
        return *std::get_if<std::uint64_t>(&value_);
    }
    /// Any number, rounded to a double.
    [[nodiscard]] double number() const noexcept;
    [[nodiscard]] const std::string& text() const noexcept { return unboxed<std::string>(); }
    [[nodiscard]] const Array& elements() const noexcept { return unboxed<Array>(); }
    [[nodiscard]] Array& elements() noexcept { return unboxed<Array>(); }
    [[nodiscard]] const Object& members() const noexcept { return unboxed<Object>(); }
    [[nodiscard]] Object& members() noexcept { return unboxed<Object>(); }

    /// The member's value; nullptr when there is none, or this is no object.
    [[nodiscard]] const Json* find(std::string_view key) const noexcept;
    /// The member's value; null when there is none.
    [[nodiscard]] const Json& operator[](std::string_view key) const noexcept;
    /// The member's value; a new one at the end when there is none.
    [[nodiscard]] Json& operator[](std::string_view key);

    /// Adds an element to this array.
    void push_back(Json element) { elements().push_back(std::move(element)); }

    /// On one line; what is not UTF-8 in a text becomes U+FFFD.
    [[nodiscard]] std::string dump() const;
    /// Indented by two spaces, without a line feed at the end.
    [[nodiscard]] std::string dump_indented() const;

    /// Numbers are compared by what they are worth, objects with the order of their keys.
    friend bool operator==(const Json& a, const Json& b) noexcept;

private:
    /// A value on the heap that is copied with its owner.
    template <class T>
    class Boxed {
    public:
        explicit Boxed(T value) : value_(std::make_unique<T>(std::move(value))) {}
        Boxed(const Boxed& other) : value_(std::make_unique<T>(*other)) {}
        Boxed(Boxed&&) noexcept = default;
        Boxed& operator=(const Boxed& other) { return *this = Boxed(other); }
        Boxed& operator=(Boxed&&) noexcept = default;
        ~Boxed() = default;
        [[nodiscard]] T& operator*() const noexcept { return *value_; }

    private:
        std::unique_ptr<T> value_;
    };

    explicit Json(Array elements);
    explicit Json(Object members);

    template <class T>
    [[nodiscard]] bool holds() const noexcept {
        return std::holds_alternative<T>(value_);
    }
    template <class T>
    [[nodiscard]] T& unboxed() const noexcept {
        return **std::get_if<Boxed<T>>(&value_);
    }
    void print(std::string& text, bool indented, std::size_t level) const;

    std::variant<std::monostate, bool, std::uint64_t, std::int64_t, double, Boxed<std::string>,
                 Boxed<Array>, Boxed<Object>>
        value_;
};

struct Json::Member {
    std::string key;
    Json value;
    friend bool operator==(const Member&, const Member&) = default;
};

/// What is refused beyond RFC 8259.
struct JsonRules {
    std::uint64_t max_bytes = 0;
    std::uint32_t max_depth = 0;  ///< the outermost object is depth 1
};

/// Parses one JSON object that fills `text`: UTF-8, no BOM, no NUL, no trailing content, no
/// duplicate keys, no number that a double cannot hold. Key order is kept. Findings `bad_json`,
/// `duplicate_key`, `limit_exceeded`, each with the byte offset in `text` where known and a JSON
/// pointer. Never throws; memory bounded by `max_bytes`. O(bytes).
[[nodiscard]] Result<Json> parse_json(std::string_view text, const JsonRules& rules);

/// The JSON pointer of member `key` of the object at `parent`. A pointer that would be longer than
/// 1,024 bytes stays that of the parent.
[[nodiscard]] std::string json_pointer(std::string_view parent, std::string_view key);

}  // namespace trlm::adapt

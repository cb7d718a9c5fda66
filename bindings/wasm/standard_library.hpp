#pragma once
// What the library uses of C++20 and libc++ 13, emscripten 3.1.6's, does not have yet. Included
// before every source file of the WebAssembly build and of no other; with a newer libc++ it is
// empty.

#if defined(__cplusplus)
#include <version>
#if defined(_LIBCPP_VERSION) && _LIBCPP_VERSION < 14000

#include <algorithm>
#include <functional>
#include <iterator>
#include <type_traits>
#include <utility>

namespace std {

template <class To, class From>
[[nodiscard]] constexpr To bit_cast(const From& from) noexcept {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}

namespace ranges {

template <class Range, class Output>
constexpr void copy(Range&& range, Output output) {
    std::copy(std::begin(range), std::end(range), std::move(output));
}

template <class Range, class Value>
[[nodiscard]] constexpr auto count(Range&& range, const Value& value) {
    return std::count(std::begin(range), std::end(range), value);
}

template <class Range, class Predicate>
[[nodiscard]] constexpr bool all_of(Range&& range, Predicate predicate) {
    return std::all_of(std::begin(range), std::end(range),
                       [&](const auto& each) { return std::invoke(predicate, each); });
}

template <class Range, class Predicate>
[[nodiscard]] constexpr bool any_of(Range&& range, Predicate predicate) {
    return std::any_of(std::begin(range), std::end(range),
                       [&](const auto& each) { return std::invoke(predicate, each); });
}

template <class Range, class Predicate>
[[nodiscard]] constexpr bool none_of(Range&& range, Predicate predicate) {
    return std::none_of(std::begin(range), std::end(range),
                        [&](const auto& each) { return std::invoke(predicate, each); });
}

template <class Range, class Value, class Projection>
[[nodiscard]] constexpr auto find(Range&& range, const Value& value, Projection projection) {
    return std::find_if(std::begin(range), std::end(range),
                        [&](const auto& each) { return std::invoke(projection, each) == value; });
}

template <class Range, class Predicate>
[[nodiscard]] constexpr auto find_if(Range&& range, Predicate predicate) {
    return std::find_if(std::begin(range), std::end(range),
                        [&](const auto& each) { return std::invoke(predicate, each); });
}

template <class Range, class Projection>
void sort(Range&& range, less, Projection projection) {
    std::sort(std::begin(range), std::end(range), [&](const auto& a, const auto& b) {
        return std::invoke(projection, a) < std::invoke(projection, b);
    });
}

template <class Range, class Projection>
void stable_sort(Range&& range, less, Projection projection) {
    std::stable_sort(std::begin(range), std::end(range), [&](const auto& a, const auto& b) {
        return std::invoke(projection, a) < std::invoke(projection, b);
    });
}

}  // namespace ranges
}  // namespace std

#endif
#endif

#pragma once
// Random models and stacks, the same on every machine: made of integers alone, so that no setting
// of the floating-point unit can change them.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace trlm::adapt::sameness {

/// An adapter of a stack: which package, and its strength as a user would write it.
struct Member {
    std::size_t package = 0;
    std::string strength;
};

/// A model file, package files, and how they are to be applied.
struct Case {
    std::vector<std::byte> model;
    std::vector<std::vector<std::byte>> packages;
    std::vector<Member> stack;
    std::string rounding;
};

/// Case `number` of `seed`, written by the library. Throws std::runtime_error when a writer refuses
/// what it should take.
[[nodiscard]] Case make_case(std::uint64_t seed, std::uint64_t number);

}  // namespace trlm::adapt::sameness

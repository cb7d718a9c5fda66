#include "members.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "identity_rules.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

void compare_shapes(std::span<const StackMember> members, const NamedTensor& tensor,
                    Findings& findings) {
    const PackageEntry& first = entry_of(members, tensor.entries.front());
    for (const MemberEntry& place : tensor.entries) {
        const PackageEntry& entry = entry_of(members, place);
        if (entry.shape == first.shape) continue;
        const StackMember& other = members[tensor.entries.front().member];
        findings.add(
            {.code = FindingCode::tensor_shape_differs,
             .message = fmt::format("the tensor's shape is {}, but {} has it as {}",
                                    to_string(entry.shape), other.file, to_string(first.shape)),
             .file = members[place.member].file,
             .tensor = tensor_label(entry.name, entry.name_hash),
             .expected = to_string(first.shape),
             .actual = to_string(entry.shape)});
    }
}

}  // namespace

std::vector<NamedTensor> named_tensors(std::span<const StackMember> members) {
    struct Place {
        std::uint64_t name_hash;
        MemberEntry entry;
    };
    std::vector<Place> places;
    for (std::size_t member = 0; member < members.size(); ++member) {
        const auto entries = members[member].package->entries();
        for (std::size_t i = 0; i < entries.size(); ++i)
            places.push_back({entries[i].name_hash, {member, i}});
    }
    std::ranges::stable_sort(places, {}, &Place::name_hash);
    std::vector<NamedTensor> tensors;
    for (const Place& place : places) {
        if (tensors.empty() || tensors.back().name_hash != place.name_hash) {
            tensors.push_back({place.name_hash, {}});
        }
        tensors.back().entries.push_back(place.entry);
    }
    return tensors;
}

const PackageEntry& entry_of(std::span<const StackMember> members,
                             const MemberEntry& place) noexcept {
    return members[place.member].package->entries()[place.entry];
}

std::string name_of(std::span<const StackMember> members, const NamedTensor& tensor) {
    for (const MemberEntry& place : tensor.entries) {
        const std::string& name = entry_of(members, place).name;
        if (!name.empty()) return name;
    }
    return {};
}

Findings check_members(std::span<const StackMember> members) {
    Findings findings;
    if (members.size() > limits::stack_members) {
        findings.add({.code = FindingCode::limit_exceeded,
                      .message = fmt::format("there are {} packages, but a stack has at most {}",
                                             members.size(), limits::stack_members),
                      .expected = fmt::format("at most {}", limits::stack_members),
                      .actual = fmt::format("{}", members.size())});
        return findings;
    }
    for (const StackMember& member : members) {
        const auto sentence = [&](std::string_view what, std::string_view expected,
                                  std::string_view actual) {
            return fmt::format(
                "the adapter was made for a model whose {} is {}, but {} for one "
                "whose is {}; only adapters of one model go together",
                what, actual, members.front().file, expected);
        };
        compare_identities(members.front().package->identity(), member.package->identity(),
                           member.file, sentence, findings);
    }
    for (const NamedTensor& tensor : named_tensors(members))
        compare_shapes(members, tensor, findings);
    return findings;
}

}  // namespace trlm::adapt

#include "trlm/adapt/produce/compose.hpp"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "guard.hpp"
#include "members.hpp"
#include "package_rules.hpp"
#include "sparse_cursor.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt {
namespace {

// ------------------------------------------------------------------------------ damaged indexes

std::optional<Finding> wrong_position(const PackageEntry& entry, const SparseDelta& delta) {
    const std::uint64_t elements = entry.shape.elements().value();
    std::uint64_t previous = 0;
    std::uint64_t count = 0;
    for (SparseCursor cursor(delta); !cursor.at_end(); cursor.advance()) {
        const std::uint64_t index = cursor.index();
        if (index >= elements) {
            if (delta.encoding == SparseEncoding::index_list) {
                return package_rules::index_out_of_range(count, static_cast<std::uint32_t>(index),
                                                         elements);
            }
            return Finding{.code = FindingCode::mask_bits_past_end,
                           .message = fmt::format("bit {} of the bitmask is set, but the tensor "
                                                  "has {} elements; write the package anew",
                                                  index, elements),
                           .element = index};
        }
        if (count > 0 && index <= previous) {
            return package_rules::index_not_ascending(count, static_cast<std::uint32_t>(index),
                                                      static_cast<std::uint32_t>(previous));
        }
        previous = index;
        ++count;
    }
    if (count == delta.count) return std::nullopt;
    return Finding{.code = FindingCode::count_mismatch,
                   .message = fmt::format("the positions are {}, but the entry counts {}; write "
                                          "the package anew",
                                          count, delta.count),
                   .expected = fmt::format("{}", delta.count),
                   .actual = fmt::format("{}", count)};
}

/// All index sections of one package; nothing is said of values.
void check_positions(const StackMember& member, Findings& findings) {
    const Package& package = *member.package;
    if (package.kind() != PackageKind::sparse) return;
    Xxh3 mask;
    for (std::size_t i = 0; i < package.entries().size(); ++i) {
        const Delta delta = package.delta(i);
        const auto& sparse = std::get<SparseDelta>(delta);
        mask.update(sparse.positions);
        auto finding = wrong_position(package.entries()[i], sparse);
        if (!finding) continue;
        finding->file = member.file;
        finding->tensor = package_rules::label(package.entries()[i]);
        findings.add(std::move(*finding));
    }
    if (mask.checksum() == package.mask_checksum()) return;
    Finding finding = package_rules::checksum_differs(
        FindingCode::mask_checksum_mismatch, "the mask",
        package_format::header::mask_checksum.offset, package.mask_checksum(), mask.checksum());
    finding.file = member.file;
    findings.add(std::move(finding));
}

// -------------------------------------------------------------------------------------- sharing

/// Which elements of a tensor a package changes: all, or those of a sparse delta.
using Change = std::optional<SparseDelta>;

std::uint64_t changed_by(const Change& change, std::uint64_t elements) {
    return change ? change->count : elements;
}

std::uint64_t changed_by_both(const SparseDelta& a, const SparseDelta& b) {
    SparseCursor first(a);
    SparseCursor second(b);
    std::uint64_t both = 0;
    while (!first.at_end() && !second.at_end()) {
        const std::uint64_t left = first.index();
        const std::uint64_t right = second.index();
        both += left == right ? 1 : 0;
        if (left <= right) first.advance();
        if (right <= left) second.advance();
    }
    return both;
}

std::uint64_t changed_by_both(const Change& a, const Change& b, std::uint64_t elements) {
    if (a && b) return changed_by_both(*a, *b);
    return std::min(changed_by(a, elements), changed_by(b, elements));
}

/// How many elements at least `times` of the sparse deltas name.
std::uint64_t changed_at_least(const std::vector<SparseDelta>& deltas, std::size_t times) {
    std::vector<SparseCursor> cursors(deltas.begin(), deltas.end());
    std::uint64_t count = 0;
    while (true) {
        std::erase_if(cursors, [](const SparseCursor& cursor) { return cursor.at_end(); });
        if (cursors.size() < times) return count;
        const std::uint64_t next = std::ranges::min(cursors, {}, &SparseCursor::index).index();
        std::size_t here = 0;
        for (SparseCursor& cursor : cursors) {
            if (cursor.index() != next) continue;
            ++here;
            cursor.advance();
        }
        count += here >= times ? 1 : 0;
    }
}

std::uint64_t changed_twice(const std::vector<Change>& changes, std::uint64_t elements) {
    std::vector<SparseDelta> sparse;
    for (const Change& change : changes)
        if (change) sparse.push_back(*change);
    const std::size_t whole = changes.size() - sparse.size();
    if (whole >= 2) return elements;
    return changed_at_least(sparse, 2 - whole);
}

class Composer {
public:
    explicit Composer(std::span<const StackMember> members) : members_(members) {
        result_.changed.resize(members.size());
        for (std::size_t second = 1; second < members.size(); ++second)
            for (std::size_t first = 0; first < second; ++first)
                result_.pairs.push_back({.first = first, .second = second});
        std::ranges::sort(result_.pairs, {}, [](const SharedByTwo& pair) {
            return std::pair(pair.first, pair.second);
        });
        for (SharedByTwo& pair : result_.pairs) {
            pair.same_content =
                members[pair.first].package->checksum() == members[pair.second].package->checksum();
        }
    }

    [[nodiscard]] Composition run() {
        for (const NamedTensor& tensor : named_tensors(members_))
            add(tensor);
        return std::move(result_);
    }

private:
    void add(const NamedTensor& tensor) {
        const std::uint64_t elements =
            entry_of(members_, tensor.entries.front()).shape.elements().value();
        std::vector<Change> changes;
        for (const MemberEntry& place : tensor.entries) {
            const Delta delta = members_[place.member].package->delta(place.entry);
            const auto* sparse = std::get_if<SparseDelta>(&delta);
            changes.push_back(sparse != nullptr ? Change(*sparse) : std::nullopt);
            result_.changed[place.member] += changed_by(changes.back(), elements);
        }
        if (tensor.entries.size() < 2) return;
        SharedTensor shared{.name = name_of(members_, tensor),
                            .name_hash = tensor.name_hash,
                            .elements = elements,
                            .members = {},
                            .changed_twice = changed_twice(changes, elements)};
        for (const MemberEntry& place : tensor.entries)
            shared.members.push_back(place.member);
        result_.changed_twice += shared.changed_twice;
        for (SharedByTwo& pair : result_.pairs)
            add_to_pair(pair, shared.members, changes, elements);
        result_.tensors.push_back(std::move(shared));
    }

    static void add_to_pair(SharedByTwo& pair, const std::vector<std::size_t>& members,
                            const std::vector<Change>& changes, std::uint64_t elements) {
        const auto first = std::ranges::find(members, pair.first);
        const auto second = std::ranges::find(members, pair.second);
        if (first == members.end() || second == members.end()) return;
        ++pair.tensors;
        pair.elements +=
            changed_by_both(changes[static_cast<std::size_t>(first - members.begin())],
                            changes[static_cast<std::size_t>(second - members.begin())], elements);
    }

    std::span<const StackMember> members_;
    Composition result_;
};

}  // namespace

Result<Composition> check_composition(std::span<const StackMember> members) {
    return guarded([&]() -> Result<Composition> {
        if (members.empty()) {
            return failure(
                {.code = FindingCode::usage_error, .message = "there is no package to look at"});
        }
        Findings findings = check_members(members);
        for (const StackMember& member : members)
            check_positions(member, findings);
        if (findings.has_errors()) return failure(std::move(findings));
        return Composer(members).run();
    });
}

}  // namespace trlm::adapt

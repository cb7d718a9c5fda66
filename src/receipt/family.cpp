#include "trlm/adapt/receipt/family.hpp"

#include <algorithm>
#include <set>

#include "descriptions.hpp"
#include "trlm/adapt/checked.hpp"

namespace trlm::adapt {
namespace {

using document::Place;

void check_members(const AdapterFamily& family, const Place& root) {
    document::Names ids;
    document::Names paths;
    CheckedSize bytes = 0;
    const Place members = root.member("members");
    for (std::size_t i = 0; i < family.members.size(); ++i) {
        const FamilyMember& member = family.members[i];
        const Place place = members.element(i);
        ids.add_id(member.id, place.member("id"));
        paths.add_path(member.manifest.path, place.member("manifest").member("path"));
        paths.add_path(member.package.path, place.member("package").member("path"));
        bytes = bytes + member.package.bytes;
    }
    const auto check_sum = [&](std::string_view key, std::string_view what, CheckedSize sum,
                               std::uint64_t budget) {
        if (sum.fits(budget)) return;
        root.member("budgets").member(key).add(
            FindingCode::budget_exceeded,
            fmt::format("{} comes to {}, which is more than this budget; leave members out, or "
                        "raise the budget on purpose",
                        what, sum.value()),
            fmt::format("at most {}", budget), fmt::format("{}", sum.value()));
    };
    check_sum("stack_bytes", "the size of all members' packages", bytes,
              family.budgets.stack_bytes);
    check_sum("stack_count", "the number of members", family.members.size(),
              family.budgets.stack_count);
}

void check_order(const AdapterFamily& family, const FamilyStack& stack, const Place& place) {
    std::set<std::string_view> seen;  // ordered: no choice of ids makes it slow
    for (std::size_t i = 0; i < stack.order.size(); ++i) {
        const std::string& member = stack.order[i].member;
        const Place at = place.member("order").element(i).member("member");
        if (family.find(member) == nullptr) {
            at.add(FindingCode::dependency_unknown,
                   fmt::format("the family has no member \"{}\"; correct the id, or add the member",
                               member));
        } else if (!seen.insert(member).second) {
            at.add(FindingCode::duplicate_id,
                   "this member stands in the stack already; a member stands there at most once");
        }
    }
}

void check_stacks(const AdapterFamily& family, const Place& root) {
    document::Names ids;
    const Place stacks = root.member("stacks");
    std::size_t preferred = 0;
    for (std::size_t i = 0; i < family.stacks.size(); ++i) {
        const FamilyStack& stack = family.stacks[i];
        ids.add_id(stack.id, stacks.element(i).member("id"));
        check_order(family, stack, stacks.element(i));
        if (stack.preferred) ++preferred;
    }
    if (preferred == 1) return;
    stacks.add(
        FindingCode::bad_value,
        fmt::format("{} stacks are preferred, but exactly one is to be; choose one", preferred),
        "1", fmt::format("{}", preferred));
}

}  // namespace

const FamilyStack* AdapterFamily::preferred_stack() const noexcept {
    const auto stack = std::find_if(stacks.begin(), stacks.end(),
                                    [](const FamilyStack& s) { return s.preferred; });
    return stack == stacks.end() ? nullptr : &*stack;
}

const FamilyMember* AdapterFamily::find(std::string_view id) const noexcept {
    const auto member = std::find_if(members.begin(), members.end(),
                                     [&](const FamilyMember& m) { return m.id == id; });
    return member == members.end() ? nullptr : &*member;
}

Result<AdapterFamily> read_family(std::string_view text, const DocumentOptions& options) {
    return document::read<AdapterFamily>(text, schemas::family, options,
                                         [](const AdapterFamily& family, const Place& root) {
                                             check_members(family, root);
                                             check_stacks(family, root);
                                         });
}

std::string write_family(const AdapterFamily& family) {
    return document::write(family, schemas::family);
}

}  // namespace trlm::adapt

#include "trlm/adapt/receipt/module_plan.hpp"

#include <algorithm>
#include <map>

#include "descriptions.hpp"
#include "trlm/adapt/checked.hpp"

namespace trlm::adapt {
namespace {

using document::Place;

constexpr std::string_view base_slot = "base";
constexpr std::string_view stack_slot_prefix = "stack/";

std::string_view name_of(ModuleClass module_class) {
    return document::module_classes.names[static_cast<std::size_t>(module_class)];
}

std::string_view name_of(Phase phase) {
    return document::phases.names[static_cast<std::size_t>(phase)];
}

/// What a plan says by itself.
class PlanRules {
public:
    PlanRules(const ModulePlan& plan, const Place& root)
        : plan_(plan), root_(root), modules_(root.member("modules")) {}

    void check() {
        check_names();
        check_roles();
        check_slots();
        check_dependencies();
        check_budgets();
    }

private:
    [[nodiscard]] Place at(std::size_t index, std::string_view key) const {
        return modules_.element(index).member(key);
    }

    void check_names() {
        document::Names ids;
        std::map<std::string, std::size_t> paths;
        for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
            ids.add_id(plan_.modules[i].id, at(i, "id"));
            const auto [other, added] = paths.emplace(folded_path(plan_.modules[i].file.path), i);
            if (added) continue;
            at(i, "path").add(
                FindingCode::path_collision,
                fmt::format("module \"{}\" has the same path, or one that differs in upper and "
                            "lower case only; each file is one module",
                            plan_.modules[other->second].id));
        }
    }

    void check_roles() {
        for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
            const Module& module = plan_.modules[i];
            const ModuleClass module_class = class_of(module.role);
            if (module.module_class != module_class) {
                at(i, "class")
                    .add(FindingCode::bad_value,
                         fmt::format("a module of this role is of class {}; correct one "
                                     "of them",
                                     name_of(module_class)),
                         std::string(name_of(module_class)),
                         std::string(name_of(module.module_class)));
            }
            const Phase phase = phase_of(module.role);
            if (module.phase != phase) {
                at(i, "phase")
                    .add(FindingCode::phase_order,
                         fmt::format("a module of this role belongs to phase {}; correct it",
                                     name_of(phase)),
                         std::string(name_of(phase)), std::string(name_of(module.phase)));
            }
        }
    }

    void check_slots() {
        bool has_base = false;
        std::map<std::size_t, std::size_t> stack;  // slot number -> module
        for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
            const Module& module = plan_.modules[i];
            const Place place = at(i, "slot");
            if (module.role == ModuleRole::base_model) {
                if (module.slot != base_slot) {
                    place.add(FindingCode::slot_conflict, "the model's slot is \"base\"; set it",
                              std::string(base_slot), module.slot.value_or("null"));
                } else if (has_base) {
                    place.add(FindingCode::slot_conflict,
                              "another module has the slot \"base\" already; a plan has one model");
                }
                has_base = true;
            } else if (module.role == ModuleRole::adapter_package && module.slot) {
                const auto number = stack_number(*module.slot);
                if (!number) {
                    place.add(FindingCode::slot_conflict,
                              "an adapter's slot is \"stack/\" and its place in the preferred "
                              "stack, from 0, or null; correct it",
                              "stack/0, stack/1 ... or null", *module.slot);
                } else if (!stack.emplace(*number, i).second) {
                    place.add(FindingCode::slot_conflict,
                              "another module has this slot already; number the slots again");
                }
            } else if (module.slot) {
                place.add(FindingCode::slot_conflict,
                          "only the model and the adapters of the preferred stack have a slot; "
                          "set it to null",
                          "null", *module.slot);
            }
        }
        if (!has_base) {
            modules_.add(FindingCode::slot_conflict,
                         "no module has the role base-model and the slot \"base\"; a plan has one");
        }
        std::size_t expected = 0;
        for (const auto& [number, module] : stack) {
            if (number != expected) {
                at(module, "slot")
                    .add(FindingCode::slot_conflict,
                         fmt::format("there is no slot stack/{} before this one; number the slots "
                                     "from 0 without gaps",
                                     expected),
                         fmt::format("stack/{}", expected), fmt::format("stack/{}", number));
                return;  // those after it follow from the gap
            }
            ++expected;
        }
    }

    /// The N of "stack/N", in its only spelling.
    static std::optional<std::size_t> stack_number(std::string_view slot) {
        if (!slot.starts_with(stack_slot_prefix)) return std::nullopt;
        const std::string_view digits = slot.substr(stack_slot_prefix.size());
        if (digits.empty() || digits.size() > 6) return std::nullopt;
        std::size_t number = 0;
        for (const char c : digits) {
            if (c < '0' || c > '9') return std::nullopt;
            number = number * 10 + static_cast<std::size_t>(c - '0');
        }
        if (digits != std::to_string(number)) return std::nullopt;
        return number;
    }

    void check_dependencies() {
        std::map<std::string_view, std::size_t> by_id;  // ordered: no choice of ids makes it slow
        for (std::size_t i = 0; i < plan_.modules.size(); ++i)
            by_id.emplace(plan_.modules[i].id, i);
        edges_.resize(plan_.modules.size());
        for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
            const Module& module = plan_.modules[i];
            for (std::size_t k = 0; k < module.depends_on.size(); ++k) {
                const Place place = at(i, "depends_on").element(k);
                const auto known = by_id.find(module.depends_on[k]);
                if (known == by_id.end()) {
                    place.add(FindingCode::dependency_unknown,
                              fmt::format("no module has the id \"{}\"; correct it, or add the "
                                          "module",
                                          module.depends_on[k]));
                    continue;
                }
                edges_[i].push_back({known->second, k});
                const Phase phase = plan_.modules[known->second].phase;
                if (phase > module.phase) {
                    place.add(FindingCode::phase_order,
                              fmt::format("this module is of phase {}, which comes after {}; a "
                                          "module depends on earlier ones only",
                                          name_of(phase), name_of(module.phase)));
                }
            }
        }
        find_cycles();
    }

    /// Depth first, without recursion: a plan may be one long chain.
    void find_cycles() {
        enum class Mark : std::uint8_t { fresh, open, done };
        std::vector<Mark> marks(plan_.modules.size(), Mark::fresh);
        std::vector<std::pair<std::size_t, std::size_t>> path;  // module, next edge
        for (std::size_t start = 0; start < plan_.modules.size(); ++start) {
            if (marks[start] != Mark::fresh) continue;
            path.emplace_back(start, 0);
            marks[start] = Mark::open;
            while (!path.empty()) {
                auto& [module, next] = path.back();
                if (next == edges_[module].size()) {
                    marks[module] = Mark::done;
                    path.pop_back();
                    continue;
                }
                const auto [target, index] = edges_[module][next++];
                if (marks[target] == Mark::open) {
                    at(module, "depends_on")
                        .element(index)
                        .add(FindingCode::dependency_cycle,
                             fmt::format("module \"{}\" depends, through others or at once, on "
                                         "this one; break the circle",
                                         plan_.modules[target].id));
                } else if (marks[target] == Mark::fresh) {
                    marks[target] = Mark::open;
                    path.emplace_back(target, 0);
                }
            }
        }
    }

    void check_budgets() {
        CheckedSize model = 0;
        CheckedSize adapters = 0;
        CheckedSize total = 0;
        const Budgets& budgets = plan_.budgets.parts;
        for (std::size_t i = 0; i < plan_.modules.size(); ++i) {
            const Module& module = plan_.modules[i];
            const std::uint64_t bytes = module.file.bytes;
            total = total + bytes;
            if (module.role == ModuleRole::base_model) {
                model = model + bytes;
            } else if (module.role == ModuleRole::adapter_package) {
                adapters = adapters + bytes;
            } else if (bytes > budgets.text_sidecar_bytes) {
                at(i, "bytes")
                    .add(FindingCode::budget_exceeded,
                         "this file is larger than a text sidecar may be; shorten it, "
                         "or raise the budget",
                         fmt::format("at most {}", budgets.text_sidecar_bytes),
                         fmt::format("{}", bytes));
            }
        }
        check_sum("model_bytes", "the model", model, budgets.model_bytes);
        check_sum("adapter_stack_bytes", "all adapter packages", adapters,
                  budgets.adapter_stack_bytes);
        check_sum("total_bytes", "all files", total, plan_.budgets.total_bytes);
        check_sum("fetch_count", "the number of modules", plan_.modules.size(),
                  budgets.fetch_count);
    }

    void check_sum(std::string_view key, std::string_view what, CheckedSize sum,
                   std::uint64_t budget) const {
        if (sum.fits(budget)) return;
        root_.member("budgets").member(key).add(
            FindingCode::budget_exceeded,
            fmt::format("{} comes to {}, which is more than this budget; make it smaller, or "
                        "raise the budget on purpose",
                        what, sum.value()),
            fmt::format("at most {}", budget), fmt::format("{}", sum.value()));
    }

    const ModulePlan& plan_;
    const Place& root_;
    Place modules_;
    std::vector<std::vector<std::pair<std::size_t, std::size_t>>> edges_;  // target, index
};

}  // namespace

const Module* ModulePlan::find(std::string_view path) const noexcept {
    const auto module = std::find_if(modules.begin(), modules.end(),
                                     [&](const Module& m) { return m.file.path == path; });
    return module == modules.end() ? nullptr : &*module;
}

ModuleClass class_of(ModuleRole role) noexcept {
    switch (role) {
        case ModuleRole::base_model:
            return ModuleClass::model;
        case ModuleRole::model_manifest:
        case ModuleRole::adapter_manifest:
            return ModuleClass::manifest;
        case ModuleRole::assembly_receipt:
        case ModuleRole::adapter_family_receipt:
            return ModuleClass::receipt;
        case ModuleRole::adapter_package:
            return ModuleClass::adapter;
        default:
            return ModuleClass::evidence;
    }
}

Phase phase_of(ModuleRole role) noexcept {
    switch (class_of(role)) {
        case ModuleClass::model:
            return Phase::model;
        case ModuleClass::evidence:
            return Phase::evidence;
        case ModuleClass::adapter:
            return Phase::stack;
        default:
            return Phase::sidecars;
    }
}

Result<ModulePlan> read_module_plan(std::string_view text, const DocumentOptions& options) {
    return document::read<ModulePlan>(
        text, schemas::module_plan, options,
        [](const ModulePlan& plan, const Place& root) { PlanRules(plan, root).check(); });
}

std::string write_module_plan(const ModulePlan& plan) {
    return document::write(plan, schemas::module_plan);
}

}  // namespace trlm::adapt

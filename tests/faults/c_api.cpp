// The same for the C interface, whose objects are on the heap too.

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "faults/failing_heap.hpp"
#include "support/sample.hpp"
#include "trlm_adapt.h"

namespace {

using namespace trlm::adapt;
using failing_heap::exhaust;
using failing_heap::fail;
using failing_heap::Verdict;

/// What a status and its findings say. There may have been no memory for the findings.
Verdict verdict_of(trlm_adapt_status status, trlm_adapt_findings* findings) {
    Verdict verdict;
    if (status != TRLM_ADAPT_OK) {
        trlm_adapt_finding finding{};
        finding.size = sizeof finding;
        const bool told = trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK;
        verdict = told                                ? static_cast<FindingCode>(finding.code)
                  : status == TRLM_ADAPT_CANNOT_CHECK ? FindingCode::out_of_memory
                                                      : FindingCode::usage_error;
    }
    trlm_adapt_findings_free(findings);
    return verdict;
}

/// A call that makes an object, until it works; then the object.
template <class Object>
Object* exhaust_making(
    const std::string& call,
    const std::function<trlm_adapt_status(Object**, trlm_adapt_findings**)>& make,
    void (*free_object)(Object*), const std::function<bool()>& is_unchanged) {
    Object* object = nullptr;
    const auto act = [&] {
        trlm_adapt_findings* findings = nullptr;
        const trlm_adapt_status status = make(&object, &findings);
        if ((status == TRLM_ADAPT_OK) != (object != nullptr)) fail(call, 0, "status and object");
        return verdict_of(status, findings);
    };
    exhaust(
        call, act, [&] { free_object(object); }, is_unchanged);
    if (make(&object, nullptr) != TRLM_ADAPT_OK) fail(call, 0, "it does not work");
    return object;
}

class Files {
public:
    explicit Files(Dtype dtype)
        : model_(sample::model(dtype)),
          package_(sample::dense_package({"norm.weight", "layers.0.w2.weight"})) {}

    trlm_adapt_model* read_model() {
        return exhaust_making<trlm_adapt_model>(
            "trlm_adapt_model_read",
            [&](auto** model, auto** findings) {
                return trlm_adapt_model_read(model_.data(), model_.size(), &options, model,
                                             findings);
            },
            trlm_adapt_model_free, [] { return true; });
    }

    trlm_adapt_package* read_package() {
        return exhaust_making<trlm_adapt_package>(
            "trlm_adapt_package_read",
            [&](auto** package, auto** findings) {
                return trlm_adapt_package_read(package_.data(), package_.size(), &options, package,
                                               findings);
            },
            trlm_adapt_package_free, [] { return true; });
    }

    // The weights are used where they lie in the file.
    std::vector<std::byte>& memory() { return model_; }

private:
    const trlm_adapt_read_options options{sizeof(trlm_adapt_read_options),
                                          "a name of more than a few letters", 0, 0};
    std::vector<std::byte> model_;
    std::vector<std::byte> package_;
};

std::vector<trlm_adapt_tensor> tensors_of(const trlm_adapt_model* model,
                                          const trlm_adapt_identity& identity) {
    std::vector<trlm_adapt_tensor> tensors(identity.tensor_count);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        tensors[i].size = sizeof tensors[i];
        if (trlm_adapt_model_tensor(model, i, &tensors[i]) != TRLM_ADAPT_OK) std::exit(1);
        tensors[i].payload = const_cast<void*>(tensors[i].file_payload);
        tensors[i].scales = const_cast<void*>(tensors[i].file_scales);
    }
    return tensors;
}

void exhaust_transactions(const trlm_adapt_plan* plan, const trlm_adapt_plan* next,
                          const std::vector<std::byte>& memory) {
    const std::vector<std::byte> base = memory;
    std::vector<std::byte> kept = memory;
    const auto unchanged = [&] { return memory == kept; };
    trlm_adapt_apply_options options{};
    options.size = sizeof options;
    options.survival = 1;
    trlm_adapt_applied* applied = nullptr;
    const auto undo = [&] {
        if (trlm_adapt_undo(applied, nullptr) != TRLM_ADAPT_OK) std::exit(1);
    };
    const auto swap_to = [&](const trlm_adapt_plan* other) {
        trlm_adapt_findings* findings = nullptr;
        const trlm_adapt_status status = trlm_adapt_swap(applied, other, &options, &findings);
        return verdict_of(status, findings);
    };
    exhaust(
        "trlm_adapt_apply",
        [&] {
            trlm_adapt_findings* findings = nullptr;
            const trlm_adapt_status status = trlm_adapt_apply(plan, &options, &applied, &findings);
            return verdict_of(status, findings);
        },
        [&] {
            undo();
            trlm_adapt_applied_free(applied);
        },
        unchanged);
    if (trlm_adapt_apply(plan, &options, &applied, nullptr) != TRLM_ADAPT_OK) std::exit(1);
    kept = memory;
    const auto back = [&] {
        if (swap_to(plan)) std::exit(1);
    };
    exhaust(
        "trlm_adapt_swap", [&] { return swap_to(next); }, back, unchanged);
    exhaust(
        "trlm_adapt_undo",
        [&] {
            trlm_adapt_findings* findings = nullptr;
            const trlm_adapt_status status = trlm_adapt_undo(applied, &findings);
            return verdict_of(status, findings);
        },
        back, unchanged);
    undo();
    trlm_adapt_applied_free(applied);
    if (memory != base) fail("trlm_adapt_undo", 0, "the base is not back");
}

void exhaust_all(Dtype dtype) {
    Files files(dtype);
    trlm_adapt_model* const model = files.read_model();
    trlm_adapt_package* const package = files.read_package();
    trlm_adapt_identity identity{};
    identity.size = sizeof identity;
    if (trlm_adapt_model_identity(model, &identity) != TRLM_ADAPT_OK) std::exit(1);
    const std::vector<trlm_adapt_tensor> tensors = tensors_of(model, identity);
    trlm_adapt_engine_description description{};
    description.size = sizeof description;
    description.identity = &identity;
    description.tensors = tensors.data();
    description.tensor_count = tensors.size();
    const std::vector<std::byte> base = files.memory();
    const auto unchanged = [&] { return files.memory() == base; };
    trlm_adapt_engine* const engine = exhaust_making<trlm_adapt_engine>(
        "trlm_adapt_engine_describe",
        [&](auto** made, auto** findings) {
            return trlm_adapt_engine_describe(&description, made, findings);
        },
        trlm_adapt_engine_free, unchanged);
    const auto plan_with = [&](float strength) {
        const trlm_adapt_member member{sizeof member, package, strength, 0};
        return exhaust_making<trlm_adapt_plan>(
            "trlm_adapt_plan_stack",
            [&](auto** plan, auto** findings) {
                return trlm_adapt_plan_stack(engine, &member, 1, plan, findings);
            },
            trlm_adapt_plan_free, unchanged);
    };
    trlm_adapt_plan* const plan = plan_with(1.0F);
    trlm_adapt_plan* const next = plan_with(-2.0F);
    exhaust_transactions(plan, next, files.memory());
    trlm_adapt_plan_free(plan);
    trlm_adapt_plan_free(next);
    trlm_adapt_engine_free(engine);
    trlm_adapt_package_free(package);
    trlm_adapt_model_free(model);
}

}  // namespace

int main() {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0})
        exhaust_all(dtype);
    return 0;
}

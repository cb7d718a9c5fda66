// The same for the calls that read and write files: what was there before is there still, and
// nothing else.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include "faults/failing_heap.hpp"
#include "support/sample.hpp"
#include "support/tokenizer_json.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/bundle.hpp"
#include "trlm/adapt/chain.hpp"
#include "trlm/adapt/chosen_stack.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/produce/checkpoint.hpp"
#include "trlm/adapt/produce/compose.hpp"
#include "trlm/adapt/produce/convert.hpp"
#include "trlm/adapt/produce/difference.hpp"
#include "trlm/adapt/produce/forecast.hpp"
#include "trlm/adapt/produce/lora.hpp"
#include "trlm/adapt/produce/merge.hpp"
#include "trlm/adapt/produce/safetensors.hpp"
#include "trlm/adapt/produce/tokenizer_import.hpp"
#include "trlm/adapt/receipt/apply_receipt.hpp"
#include "trlm/adapt/receipt/family.hpp"
#include "trlm/adapt/replay.hpp"
#include "trlm/adapt/undo.hpp"

namespace {

using namespace trlm::adapt;
using failing_heap::exhaust;
using failing_heap::fail;
using failing_heap::Verdict;
using failing_heap::verdict_of;
namespace fs = std::filesystem;

// How many allocations of a call fail; the sanitizers make each try too slow for all of them.
long long most = 1'000'000;

std::string content_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder of its own, removed at the end.
class Folder {
public:
    Folder() {
        // Where nothing is brought to a disk, if there is such a place: it is done ten thousand
        // times.
        const fs::path memory = "/dev/shm";
        const fs::path parent = fs::is_directory(memory) ? memory : fs::temp_directory_path();
        std::string name = (parent / "trlm-faults-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) fail("mkdtemp", 0, "no folder");
        path_ = name;
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { fs::remove_all(path_); }

    [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }

    void put(const std::string& name, std::string_view content) const {
        std::ofstream(path(name), std::ios::binary) << content;
    }
    void put(const std::string& name, Bytes content) const { put(name, as_text(content)); }

    /// Everything in it, by its path.
    [[nodiscard]] std::map<std::string, std::string> contents() const {
        std::map<std::string, std::string> found;
        for (const auto& entry : fs::recursive_directory_iterator(path_)) {
            const std::string name = fs::relative(entry.path(), path_).string();
            found[name] = entry.is_regular_file() ? content_of(entry.path()) : "";
        }
        return found;
    }

private:
    std::string path_;
};

/// A model and packages for it, in memory and in a folder, with outputs of an earlier run.
class Sample {
public:
    Sample() {
        packages_.reserve(files_.size());
        for (std::size_t i = 0; i < files_.size(); ++i) {
            folder_.put(names_[i], files_[i]);
            packages_.push_back(*read_package(files_[i]));
        }
        folder_.put("base.slm", model_file_);
        for (const char* name : {"out", "undo"})
            folder_.put(name, std::string_view("of an earlier run"));
        model_ = *read_model(model_file_);
        remember();
    }

    [[nodiscard]] std::string path(const std::string& name) const { return folder_.path(name); }
    [[nodiscard]] const Folder& folder() const { return folder_; }
    [[nodiscard]] const Model& model() const { return model_; }
    [[nodiscard]] Stack stack() const {
        return {{&packages_[0], 1, "a.adp1"}, {&packages_[1], 1, "b.asp1"}};
    }
    [[nodiscard]] const Package& package(std::size_t index) const { return packages_[index]; }

    void remember() { before_ = folder_.contents(); }
    [[nodiscard]] bool is_unchanged() const { return folder_.contents() == before_; }

    /// Puts back what a call that worked has replaced.
    void restore() const {
        for (const auto& [name, content] : folder_.contents()) {
            const auto old = before_.find(name);
            if (old == before_.end()) {
                fs::remove_all(path(name));
            } else if (old->second != content) {
                folder_.put(name, old->second);
            }
        }
    }

    void exhaust_call(const std::string& call, const std::function<Verdict()>& act) const {
        exhaust(
            call, act, [&] { restore(); }, [&] { return is_unchanged(); }, most);
    }

private:
    Folder folder_;
    std::vector<std::byte> model_file_ = sample::model(Dtype::q8_0);
    std::vector<std::string> names_{"a.adp1", "b.asp1", "c.asp1", "d.alr1"};
    std::vector<std::vector<std::byte>> files_{
        sample::dense_package({"norm.weight", "layers.0.w2.weight"}),
        sample::sparse_package("layers.0.w1.weight", 20),
        sample::sparse_package("layers.0.w1.weight", 30),
        sample::low_rank_package("layers.0.w2.weight")};
    std::vector<Package> packages_;
    Model model_;
    std::map<std::string, std::string> before_;
};

void exhaust_files(const Sample& sample) {
    // What the test allocates itself must not fail.
    const std::string out = sample.path("out");
    const std::string folder = sample.path(".");
    sample.exhaust_call("OutputFile", [&]() -> Verdict {
        auto file = OutputFile::create(out, 4);
        if (!file) return verdict_of(file.error());
        if (Status written = file->write(as_bytes("1234")); !written) return verdict_of(written);
        return verdict_of(file->commit(/*replace=*/true));
    });
    sample.exhaust_call("list_packages", [&] { return verdict_of(list_packages(folder)); });
}

void exhaust_application(const Sample& sample) {
    const Stack stack = sample.stack();
    const ApplyPlan plan = *plan_apply(sample.model(), stack);
    ApplyOptions options;
    options.survival = true;
    const std::string out = sample.path("out");
    const std::string undo = sample.path("undo");
    sample.exhaust_call("apply_to_file",
                        [&] { return verdict_of(apply_to_file(plan, out, true, options)); });
    sample.exhaust_call("apply_with_undo", [&] {
        return verdict_of(apply_with_undo(plan, out, undo, true, options));
    });
    sample.exhaust_call("check_fused", [&] { return verdict_of(check_fused(plan, options)); });
    sample.exhaust_call("predict", [&] { return verdict_of(predict(plan, options)); });
    sample.exhaust_call("forecast", [&] { return verdict_of(forecast(sample.model(), stack)); });
}

void exhaust_reverting(const Sample& sample) {
    const ApplyPlan plan = *plan_apply(sample.model(), sample.stack());
    if (!apply_with_undo(plan, sample.path("out"), sample.path("undo"), true)) std::exit(1);
    const std::string output = content_of(sample.path("out"));
    const std::string undo_file = content_of(sample.path("undo"));
    sample.restore();
    sample.exhaust_call("read_undo", [&] { return verdict_of(read_undo(as_bytes(undo_file))); });
    const Undo undo = *read_undo(as_bytes(undo_file));
    const std::string out = sample.path("out");
    const RevertInput input{.output = as_bytes(output), .undo = &undo};
    sample.exhaust_call("revert_to_file",
                        [&] { return verdict_of(revert_to_file(input, out, true)); });
}

void exhaust_producers(const Sample& sample) {
    const std::string out = sample.path("out");
    std::vector<std::byte> tuned_file;
    const ApplyPlan plan = *plan_apply(sample.model(), sample.stack());
    if (!apply_to_memory(plan, tuned_file)) std::exit(1);
    const Model tuned = *read_model(tuned_file);
    const std::vector<std::pair<std::string, DifferenceMethod>> methods{
        {"dense", DenseDifference{}},
        {"sparse", ElementsAbove{0.001F}},
        {"low-rank", LowRankDifference{.size = std::uint32_t{2}}}};
    const DifferencePaths paths{out, out + ".adp1"};
    for (const auto& [name, method] : methods) {
        sample.exhaust_call("write_difference " + name, [&, how = method]() -> Verdict {
            auto made = write_difference(sample.model(), tuned, how, paths);
            if (!made) return verdict_of(made.error());
            return verdict_of(made->package.commit(/*replace=*/true));
        });
    }
    const Stack sparse{{&sample.package(1), 1, "b.asp1"}, {&sample.package(2), 1, "c.asp1"}};
    sample.exhaust_call("check_composition", [&] { return verdict_of(check_composition(sparse)); });
    for (const MergeMethod& method : {MergeMethod(SumMerge{}), MergeMethod(SignConsensus{})}) {
        sample.exhaust_call("write_merge", [&]() -> Verdict {
            auto merge = write_merge(sparse, method, out);
            if (!merge) return verdict_of(merge.error());
            return verdict_of(merge->package.commit(/*replace=*/true));
        });
    }
    const ModelSource source = source_of(sample.model());
    ConvertOptions options;
    options.dtype = Dtype::q4_0;
    sample.exhaust_call("convert_model",
                        [&] { return verdict_of(convert_model(source, out, true, options)); });
    sample.exhaust_call("convert_to_memory", [&] {
        std::vector<std::byte> output;
        return verdict_of(convert_to_memory(source, output, options));
    });
}

/// What other programs have made: the examples in `data`.
void exhaust_imports(const Sample& sample, const std::string& data) {
    const auto nothing = [] {};
    const auto always = [] { return true; };
    const std::string tensors = content_of(data + "/checkpoint/model.safetensors");
    exhaust(
        "read_safetensors", [&] { return verdict_of(read_safetensors(as_bytes(tensors))); },
        nothing, always, most);
    const std::string checkpoint = data + "/checkpoint";
    exhaust(
        "Checkpoint::open", [&] { return verdict_of(Checkpoint::open(checkpoint)); }, nothing,
        always, most);
    std::vector<std::byte> base_file;
    if (!convert_to_memory(Checkpoint::open(checkpoint)->source(), base_file)) std::exit(1);
    const Model base = *read_model(base_file);
    const std::string lora = data + "/peft-lora";
    const std::string out = sample.path("out");
    sample.exhaust_call("import_lora", [&]() -> Verdict {
        auto imported = import_lora(lora, base, out);
        if (!imported) return verdict_of(imported.error());
        return verdict_of(imported->file.commit(/*replace=*/true));
    });
    const std::string tokenizer = sample::tokenizer_json().dump();
    exhaust(
        "import_tokenizer_json",
        [&] {
            return verdict_of(import_tokenizer_json(tokenizer, 262, {0, 1, 2, 3}));
        },
        nothing, always, most);
}

constexpr std::string_view recipe_text = R"({
  "schema": "trlm/bundle-recipe@1", "id": "small", "model": "base.slm", "strategy": "manual",
  "budgets": {"model_bytes": 1048576, "text_sidecar_bytes": 65536, "adapter_stack_bytes": 1048576,
              "fetch_count": 32},
  "source_kind": "trained", "quality_claim": "none", "trained_quality_claim": null,
  "license": "CC0-1.0",
  "adapters": [{"id": "a", "package": "a.adp1", "strength_range": [0.1, 1.5],
                "license": "CC0-1.0", "source": "made up"}],
  "stacks": [{"id": "first", "preferred": true, "rounding": "adaptive:0",
              "order": [{"member": "a", "strength": 1}]}],
  "evidence": {"review": {"by": "nobody"}, "recipe": {"method": "none"},
               "operator": {"role": "test"}, "candidate": {"replaces": null},
               "promotion": {"channel": "tests"}, "runtime": {"arithmetic": "trlm-f32-unfused@1"},
               "eval": {"cases": 1, "failures": 0, "body": {}},
               "admission": {"status": "admitted", "body": {}}, "eval_cases": {"texts": ["a"]}},
  "ledger": [{"event": "made"}]
})";

void exhaust_bundles(const Sample& sample) {
    sample.exhaust_call("read_recipe", [&] { return verdict_of(read_recipe(recipe_text)); });
    const BundleRecipe recipe = *read_recipe(recipe_text);
    const std::string folder = sample.path("bundle");
    const std::string recipe_folder = sample.path(".");
    const std::string adapters = folder + "/adapters";
    sample.exhaust_call("create_bundle",
                        [&] { return verdict_of(create_bundle(recipe, recipe_folder, folder)); });
    if (!create_bundle(recipe, recipe_folder, folder)) fail("create_bundle", 0, "it fails");
    std::map<std::string, std::string> contents;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file()) {
            contents[fs::relative(entry.path(), folder).string()] = content_of(entry.path());
        }
    }
    const auto nothing = [] {};
    const auto always = [] { return true; };
    const ChainOptions chain_options;  // its texts are the host's
    exhaust(
        "verify, a folder",
        [&]() -> Verdict {
            Result<Source> source = Source::folder(folder);
            if (!source) return verdict_of(source.error());
            return verdict_of(verify(*source, chain_options).findings);
        },
        nothing, always, most);
    exhaust(
        "read_preferred_stack",
        [&]() -> Verdict {
            Result<Source> source = Source::folder(adapters);
            if (!source) return verdict_of(source.error());
            return verdict_of(read_preferred_stack(*source));
        },
        nothing, always, most);
    const std::string family = contents.at("adapters/family.receipt.json");
    exhaust(
        "read_family", [&] { return verdict_of(read_family(family)); }, nothing, always, most);
    fs::remove_all(folder);
}

void exhaust_replay(const Sample& sample) {
    const Package& package = sample.package(0);
    const Stack stack{{&package, 1, "a.adp1"}};
    ApplyOptions options;
    options.survival = true;
    const DigestedReport done = *predict(*plan_apply(sample.model(), stack), options);
    const auto ref = [&](const std::string& name) -> FileRef {
        const std::string content = content_of(sample.path(name));
        return {.path = name, .bytes = content.size(), .digest = sha256(as_bytes(content))};
    };
    ApplyReceipt receipt;
    receipt.base = ref("base.slm");
    receipt.stack.push_back({.package = ref("a.adp1"),
                             .kind = package.kind(),
                             .internal_checksum = package.checksum(),
                             .strength = 1});
    receipt.output_dtype = "keep";
    receipt.state = done.report.state;
    receipt.output = {.path = "not-there", .bytes = done.report.bytes, .digest = done.digest};
    for (const TensorSurvival& tensor : done.report.tensors)
        receipt.tensors.push_back(record(tensor));
    const std::string text = write_apply_receipt(receipt);
    sample.exhaust_call("read_apply_receipt", [&] { return verdict_of(read_apply_receipt(text)); });
    const std::string here = sample.path(".");
    sample.exhaust_call("replay", [&]() -> Verdict {
        Result<Source> folder = Source::folder(here);
        if (!folder) return verdict_of(folder.error());
        const auto report = replay(text, *folder, nullptr);
        return report ? verdict_of(report->findings) : verdict_of(report.error());
    });
}

}  // namespace

// usage: files_heap_faults DATA [MOST]
//   DATA   the folder of the examples' data
//   MOST   failures of a call with more allocations (default: all of them)
int main(int argc, char** argv) {
    if (argc < 2) fail("main", 0, "it takes the folder of the examples' data");
    if (argc > 2) most = std::atoll(argv[2]);
    const Sample sample;
    exhaust_files(sample);
    exhaust_application(sample);
    exhaust_reverting(sample);
    exhaust_producers(sample);
    exhaust_imports(sample, argv[1]);
    exhaust_replay(sample);
    exhaust_bundles(sample);
    return 0;
}

// What an engine does to exchange adapters while it serves: embed MODEL ADAPTER OTHER
#include <algorithm>
#include <cstdio>
#include <vector>

#include <trlm/adapt.hpp>

using namespace trlm::adapt;

static int failed(const Findings& findings) {
    for (const Finding& finding : findings) {
        std::fprintf(stderr, "%s: %s [%s]\n", finding.tensor.c_str(), finding.message.c_str(),
                     finding_info(finding.code).name.data());
    }
    return static_cast<int>(findings.exit_code());
}

int main(int argc, char** argv) {
    if (argc != 4) return static_cast<int>(ExitCode::usage);
    const auto file = MappedFile::open(argv[1]);
    if (!file) return failed(file.error());
    const auto model = read_model(file->bytes());
    if (!model) return failed(model.error());
    std::vector<std::byte> weights(file->bytes().begin(), file->bytes().end());
    const auto tensors = memory_tensors(*model, weights);
    if (!tensors) return failed(tensors.error());

    std::vector<MappedFile> files;
    std::vector<Package> packages;
    for (const char* path : {argv[2], argv[3]}) {
        auto bytes = MappedFile::open(path);
        if (!bytes) return failed(bytes.error());
        auto package = read_package(bytes->bytes());
        if (!package) return failed(package.error());
        files.push_back(std::move(*bytes));
        packages.push_back(std::move(*package));
    }

    // From here on it is about adapters.
    MemoryModel engine{.identity = model->identity(), .tensors = *tensors};
    engine.quiescence.begin = [] { return true; };  // wait until no thread reads the weights
    engine.quiescence.end = [] {};                  // drop the KV cache, let the threads go on

    const Stack first = {{.package = &packages[0], .strength = 1.0F, .file = argv[2]}};
    const Stack second = {{.package = &packages[1], .strength = 0.5F, .file = argv[3]}};
    const auto plan = plan_in_memory(engine, first);  // checks everything, changes nothing
    if (!plan) return failed(plan.error());
    const auto other = plan_in_memory(engine, second);
    if (!other) return failed(other.error());

    ApplyOptions options;
    options.executor = make_executor(0);             // or the engine's own threads
    auto applied = apply_in_memory(*plan, options);  // all or nothing
    if (!applied) return failed(applied.error());
    std::printf("state %016llx\n", static_cast<unsigned long long>(applied->state()));
    if (const Status swapped = applied->swap(*other, options); !swapped) {
        return failed(swapped.error());  // the first stack is still applied
    }
    std::printf("state %016llx\n", static_cast<unsigned long long>(applied->state()));
    if (const Status undone = applied->undo(options.executor); !undone) {
        return failed(undone.error());
    }
    const bool same = std::equal(weights.begin(), weights.end(), file->bytes().begin());
    std::printf("%s\n", same ? "the base again, every byte" : "not the base");
    return same ? 0 : 1;
}

// The native side of speed.js: writes models and adapters, applies them in memory on one thread,
// and prints how long that takes. With a size, only one model and its adapter are written.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "model_file.hpp"
#include "package_file.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/simd.hpp"

namespace {

using namespace trlm::adapt;

template <class T>
T taken(Result<T> result) {
    if (result) return std::move(*result);
    std::fprintf(stderr, "wasm_speed: %s\n", result.error()[0].message.c_str());
    std::exit(1);
}

void expect(Status status) {
    if (status) return;
    std::fprintf(stderr, "wasm_speed: %s\n", status.error()[0].message.c_str());
    std::exit(1);
}

/// Seconds of the processor in the fastest of some runs: others may use the machine, too.
double fastest(const ApplyPlan& plan, const ApplyOptions& options) {
    constexpr int runs = 5;
    double best = std::numeric_limits<double>::infinity();
    std::vector<std::byte> output;
    for (int i = 0; i < runs; ++i) {
        const std::clock_t begun = std::clock();
        (void)taken(apply_to_memory(plan, output, options));
        best = std::min(best, static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC);
    }
    return best;
}

/// A random model and an adapter for all of its matrices.
struct Pair {
    std::string model_path;
    std::string package_path;
    MappedFile model_file;
};

Pair write_pair(const std::string& folder, std::uint64_t mebibytes, Dtype dtype, PackageKind kind) {
    const std::string model_path = folder + "/" + std::string(to_string(dtype)) + ".slm";
    const std::string package_path = model_path + "." + std::string(to_string(kind));
    const auto shape = *bench::shape_of_size(mebibytes << 20, dtype);
    expect(bench::write_random_model(model_path, shape, dtype, 1));
    MappedFile model_file = taken(MappedFile::open(model_path));
    bench::AdapterSpec spec;
    spec.kind = kind;
    spec.seed = 2;
    expect(bench::write_random_adapter(package_path, taken(read_model(model_file.bytes())), spec));
    return {model_path, package_path, std::move(model_file)};
}

void time_one(const Pair& pair, const std::string& target) {
    const Model model = taken(read_model(pair.model_file.bytes()));
    const MappedFile package_file = taken(MappedFile::open(pair.package_path));
    const Package package = taken(read_package(package_file.bytes()));
    StackMember member;
    member.package = &package;
    const ApplyPlan plan = taken(plan_apply(model, {&member, 1}));
    ApplyOptions options;
    options.simd_target = target;
    const double plain = fastest(plan, options);
    options.survival = true;
    const double measured = fastest(plan, options);
    std::printf("%s %s %.9f %.9f\n", pair.model_path.c_str(), pair.package_path.c_str(), plain,
                measured);
}

}  // namespace

int main(int count, char** values) {
    if (count != 3 && count != 4) {
        std::fprintf(stderr, "usage: wasm_speed FOLDER TARGET [MIB]\n");
        return 2;
    }
    expect(check_simd_target(values[2]));
    if (count == 4) {
        const std::uint64_t mebibytes = std::strtoull(values[3], nullptr, 10);
        const Pair pair = write_pair(values[1], mebibytes, Dtype::f32, PackageKind::sparse);
        std::printf("%s %s\n", pair.model_path.c_str(), pair.package_path.c_str());
        return 0;
    }
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        for (const PackageKind kind :
             {PackageKind::dense, PackageKind::sparse, PackageKind::low_rank}) {
            time_one(write_pair(values[1], 32, dtype, kind), values[2]);
        }
    }
    return 0;
}

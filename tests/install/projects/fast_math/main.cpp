// A host that was compiled with -ffast-math applies adapters in its memory:
// fast_math MODEL PACKAGE F32_MODEL
//
// Prints what came out: whether the processor flushes subnormal numbers, what a sum of subnormal
// weights became, and the digest of the model.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

#include <trlm/adapt.hpp>

using namespace trlm::adapt;

namespace {

/// The tensors of a model file that was loaded into `file`; the pass that looks for overflow is not
/// spared.
std::vector<MemoryTensor> tensors_of(const Model& model, MutableBytes file) {
    auto tensors = *memory_tensors(model, file);
    for (MemoryTensor& tensor : tensors)
        tensor.max_abs.reset();
    return tensors;
}

bool apply(const Model& model, std::span<const MemoryTensor> tensors, const Package& package) {
    const std::array stack{StackMember{.package = &package, .strength = 1, .file = {}}};
    MemoryModel memory;
    memory.identity = model.identity();
    memory.tensors = tensors;
    const auto plan = plan_in_memory(memory, stack);
    return plan && apply_in_memory(*plan);
}

bool print_digest(const Model& model, const Package& package) {
    std::vector<std::byte> file(model.bytes().begin(), model.bytes().end());
    if (!apply(model, tensors_of(model, file), package)) return false;
    store(MutableBytes(file), slm1_checksum_offset, std::uint64_t{0});
    store(MutableBytes(file), slm1_checksum_offset, checksum_of(file));
    std::printf("model %s\n", to_string(sha256(file)).c_str());
    return true;
}

/// Adds a delta of 5 to weights of 3, in units of the least subnormal number: such numbers are
/// added as integers are.
bool print_subnormal_sum(const Model& model) {
    const ModelTensor& tensor = model.tensors()[0];
    const std::vector<float> delta(tensor.shape.elements().value(), std::bit_cast<float>(5U));
    const auto bytes =
        write_package({.kind = PackageKind::dense,
                       .identity = model.identity(),
                       .entries = {{tensor.name_hash, tensor.shape, DenseContent{delta}}},
                       .metadata = {}});
    if (!bytes) return false;
    const auto package = read_package(*bytes);
    if (!package) return false;

    std::vector<std::byte> file(model.bytes().begin(), model.bytes().end());
    const std::vector<MemoryTensor> tensors = tensors_of(model, file);
    const MutableBytes weights =
        MutableBytes(file).subspan(tensor.payload_offset, tensor.payload_length);
    for (std::size_t i = 0; i < weights.size(); i += 4)
        store(weights, i, std::uint32_t{3});
    if (!apply(model, tensors, *package)) return false;

    std::uint32_t least = load<std::uint32_t>(weights, 0);
    std::uint32_t most = least;
    for (std::size_t i = 0; i < weights.size(); i += 4) {
        least = std::min(least, load<std::uint32_t>(weights, i));
        most = std::max(most, load<std::uint32_t>(weights, i));
    }
    std::printf("sums %u to %u\n", least, most);
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const volatile float tiny = std::bit_cast<float>(3U);
    const volatile float sum = tiny + tiny;
    std::printf("host %s\n", std::bit_cast<std::uint32_t>(float{sum}) == 0 ? "flushes" : "keeps");

    const auto model_file = MappedFile::open(argv[1]);
    const auto package_file = MappedFile::open(argv[2]);
    const auto f32_file = MappedFile::open(argv[3]);
    if (!model_file || !package_file || !f32_file) return 5;
    const auto model = read_model(model_file->bytes());
    const auto package = read_package(package_file->bytes());
    const auto f32_model = read_model(f32_file->bytes());
    if (!model || !package || !f32_model) return 1;
    return print_digest(*model, *package) && print_subnormal_sum(*f32_model) ? 0 : 1;
}

// An engine without exceptions, run-time type information or a heap of its own: the C++ heap ends
// the program, and the allocator that the core gets fails where it is told to.
//
// usage: core_engine MODEL OUTPUT PACKAGE...

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#if defined(TRLM_ADAPT_ONE_HEADER)
#define TRLM_ADAPT_CORE_IMPLEMENTATION
#include "trlm_adapt_core.hpp"
#else
#include "trlm/adapt/core.hpp"
#endif

// Whatever the core takes from the heap behind its allocator's back ends here.
static bool heap_is_closed = false;

void* operator new(std::size_t bytes) {
    if (heap_is_closed) std::abort();
    return std::malloc(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t) {
    return operator new(bytes);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return operator new(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t, const std::nothrow_t&) noexcept {
    return operator new(bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

namespace {

using namespace trlm::adapt;

constexpr std::size_t most_tensors = 256;
constexpr std::size_t most_packages = 8;

struct File {
    std::byte* data = nullptr;
    std::size_t size = 0;

    [[nodiscard]] Bytes bytes() const { return {data, size}; }
};

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "core_engine: %s\n", what);
    std::exit(1);
}

void require(bool condition, const char* what) {
    if (!condition) fail(what);
}

File read_file(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    require(file != nullptr, "cannot open a file");
    std::fseek(file, 0, SEEK_END);
    File content;
    content.size = static_cast<std::size_t>(std::ftell(file));
    std::rewind(file);
    content.data = static_cast<std::byte*>(std::aligned_alloc(64, (content.size + 63) / 64 * 64));
    require(std::fread(content.data, 1, content.size, file) == content.size, "cannot read a file");
    std::fclose(file);
    return content;
}

/// Counts, and fails from a call on.
struct Memory {
    std::size_t left = std::numeric_limits<std::size_t>::max();
    std::size_t out = 0;
    std::size_t calls = 0;
};

Allocator allocator_of(Memory& memory) {
    Allocator allocator;
    allocator.context = &memory;
    allocator.allocate = [](void* context, std::size_t bytes, std::size_t alignment) -> void* {
        auto& all = *static_cast<Memory*>(context);
        ++all.calls;
        if (all.left == 0) return nullptr;
        --all.left;
        ++all.out;
        return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    };
    allocator.release = [](void* context, void* piece, std::size_t, std::size_t) {
        --static_cast<Memory*>(context)->out;
        std::free(piece);
    };
    return allocator;
}

/// The tensors of a model's file, where they lie.
std::size_t describe(const File& file, MemoryTensor* tensors) {
    const std::uint64_t directory = load<std::uint64_t>(file.bytes(), 80);
    const std::size_t count = load<std::uint32_t>(file.bytes(), 88);
    require(count <= most_tensors, "the model has too many tensors");
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t entry = directory + 64 * i;
        MemoryTensor& tensor = tensors[i];
        tensor.name_hash = load<std::uint64_t>(file.bytes(), entry);
        tensor.dtype = static_cast<Dtype>(load<std::uint32_t>(file.bytes(), entry + 8));
        tensor.shape.rank = load<std::uint32_t>(file.bytes(), entry + 12);
        tensor.shape.dims = load<std::array<std::uint32_t, 4>>(file.bytes(), entry + 16);
        tensor.block_size = load<std::uint32_t>(file.bytes(), entry + 56);
        const MutableBytes all(file.data, file.size);
        tensor.payload = all.subspan(load<std::uint64_t>(file.bytes(), entry + 32),
                                     load<std::uint64_t>(file.bytes(), entry + 40));
        const std::uint64_t scales =
            scale_count(tensor.dtype, tensor.shape, tensor.block_size).value() * sizeof(float);
        if (scales > 0) {
            tensor.scales = all.subspan(load<std::uint64_t>(file.bytes(), entry + 48), scales);
        }
    }
    return count;
}

/// Calls `act` with more and more memory until it works. Nothing may change before.
template <class Act>
core::Outcome with_more_and_more(Memory& memory, const File& model, Act&& act) {
    std::byte* before = static_cast<std::byte*>(std::malloc(model.size));
    std::memcpy(before, model.data, model.size);
    core::Outcome outcome;
    for (std::size_t pieces = 0;; ++pieces) {
        const std::size_t out = memory.out;
        memory.left = pieces;
        outcome = act();
        if (outcome || outcome.code != FindingCode::out_of_memory) break;
        require(std::memcmp(before, model.data, model.size) == 0,
                "without enough memory the weights change");
        require(memory.out == out, "what was taken before memory ran out is not given back");
        require(pieces < 100'000, "there is never enough memory");
    }
    memory.left = std::numeric_limits<std::size_t>::max();
    std::free(before);
    return outcome;
}

void run(const File& model, const File* files, std::size_t count, const char* output) {
    core::PackageView packages[most_packages];
    core::Member stack[most_packages];
    for (std::size_t i = 0; i < count; ++i) {
        const core::Outcome opened = core::PackageView::open(files[i].bytes(), packages[i]);
        if (!opened) {
            std::printf("package %zu: code %d at byte %lld\n", i, static_cast<int>(opened.code),
                        static_cast<long long>(opened.place));
            std::exit(3);
        }
        stack[i] = {&packages[i], 1.0F};
    }
    MemoryTensor tensors[most_tensors];
    Memory memory;
    MemoryModel engine;
    engine.identity = packages[0].identity();
    engine.tensors = {tensors, describe(model, tensors)};
    engine.allocator = allocator_of(memory);

    std::byte* base = static_cast<std::byte*>(std::malloc(model.size));
    std::memcpy(base, model.data, model.size);
    {
        core::Application application(engine);
        core::Options options;
        options.rounding = {RoundingMode::nearest, 0};
        options.allow_no_effect = true;
        const core::Outcome applied = with_more_and_more(memory, model, [&] {
            return application.apply({stack, count}, options);
        });
        if (!applied) {
            require(std::memcmp(base, model.data, model.size) == 0, "what is refused has changed");
            std::printf("refused: code %d\n", static_cast<int>(applied.code));
            std::exit(3);
        }
        require(memory.calls > 10, "hardly any memory came from the allocator");
        std::FILE* file = std::fopen(output, "wb");
        require(file != nullptr, "cannot write the output");
        std::fwrite(model.data, 1, model.size, file);
        std::fclose(file);
        std::printf("state %016llx\n", static_cast<unsigned long long>(application.state()));

        // One alone in its place, all of them again, and out.
        for (const std::size_t members : {std::size_t{1}, count}) {
            require(static_cast<bool>(
                        with_more_and_more(memory, model,
                                           [&] {
                                               return application.apply({stack, members}, options);
                                           })),
                    "an exchange is refused");
        }
        require(static_cast<bool>(
                    with_more_and_more(memory, model, [&] { return application.undo(); })),
                "undo is refused");
        require(std::memcmp(base, model.data, model.size) == 0, "undo gives other bytes");
        require(application.undo().code == FindingCode::undo_stale, "a second undo is not refused");
    }
    require(memory.out == 0, "memory was not given back");
    std::free(base);
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 4 || static_cast<std::size_t>(count) > 3 + most_packages) {
        fail("usage: core_engine MODEL OUTPUT PACKAGE...");
    }
    const File model = read_file(arguments[1]);
    File packages[most_packages];
    const std::size_t members = static_cast<std::size_t>(count) - 3;
    for (std::size_t i = 0; i < members; ++i)
        packages[i] = read_file(arguments[i + 3]);
    heap_is_closed = true;
    run(model, packages, members, arguments[2]);
    heap_is_closed = false;
    for (std::size_t i = 0; i < members; ++i)
        std::free(packages[i].data);
    std::free(model.data);
    return 0;
}

// A fuzz target without a fuzzer: runs some inputs, then mutations of them, the same ones every
// time. For compilers that have no libFuzzer, for fuzzers that run a program on a file, and for the
// tests.
//
// usage: TARGET MUTATIONS PATH...
//   MUTATIONS   how many, of inputs that are chosen among all
//   PATH        an input, or a folder of inputs

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" [[gnu::weak]] std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                                             std::size_t most, unsigned seed);

namespace {

using Input = std::vector<std::uint8_t>;

trlm::adapt::fuzz::Random random_numbers(1);

Input read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return {text.begin(), text.end()};
}

Input current;

/// Where a crash leaves what caused it.
void keep_input() {
    std::ofstream("crash-input", std::ios::binary)
        .write(reinterpret_cast<const char*>(current.data()),
               static_cast<std::streamsize>(current.size()));
    std::fputs("the input is in crash-input\n", stderr);
}

void run(const Input& input) {
    current = input;
    (void)LLVMFuzzerTestOneInput(current.data(), current.size());
}

/// A file, or the files of a folder in an order that is the same everywhere.
std::vector<std::filesystem::path> files_of(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return {path};
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(path))
        paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

Input mutation_of(Input input) {
    for (std::uint64_t times = 1 + random_numbers.below(3); times > 0; --times) {
        const std::size_t size = input.size();
        const std::size_t most = 2 * size + 64;
        input.resize(most);
        const auto seed = static_cast<unsigned>(random_numbers.next());
        input.resize(LLVMFuzzerCustomMutator != nullptr
                         ? LLVMFuzzerCustomMutator(input.data(), size, most, seed)
                         : LLVMFuzzerMutate(input.data(), size, most));
    }
    return input;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 3) {
        std::fputs("usage: TARGET MUTATIONS PATH...\n", stderr);
        return 2;
    }
    for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGILL, SIGBUS}) {
        std::signal(signal, [](int number) {
            std::signal(number, SIG_DFL);
            keep_input();
            std::raise(number);
        });
    }
    std::vector<Input> inputs;
    for (int i = 2; i < count; ++i) {
        for (const std::filesystem::path& path : files_of(arguments[i])) {
            inputs.push_back(read_file(path));
            run(inputs.back());
        }
    }
    if (inputs.empty()) {
        std::fputs("there are no inputs\n", stderr);
        return 1;
    }
    const long mutations = std::atol(arguments[1]);
    for (long i = 0; i < mutations; ++i)
        run(mutation_of(inputs[random_numbers.below(inputs.size())]));
    std::printf("%zu inputs and %ld mutations\n", inputs.size(), mutations);
    return 0;
}

// How long it takes to exchange one stack for another in an engine's memory, against reading the
// model's weights once.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>
#include <time.h>

#include "arguments.hpp"
#include "baselines.hpp"
#include "trlm/adapt/memory.hpp"

namespace trlm::adapt::bench {
namespace {

constexpr std::string_view usage =
    "usage: swap MODEL ADAPTER OTHER [--rounds N] [--threads N]\n"
    "Loads a model into memory, applies ADAPTER, and times in turn: OTHER in its place, ADAPTER "
    "back,\n"
    "undo and apply, and reading all weights once. Prints medians as JSON.\n"
    "  --rounds N    turns (default 21)\n"
    "  --threads N   threads (default 1)\n";

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "swap: %s\n", what.c_str());
    std::exit(1);
}

template <class T>
T required(Result<T> result, const std::string& what) {
    if (!result) fail(what + ": " + result.error()[0].message);
    return std::move(*result);
}

void require(const Status& status, const std::string& what) {
    if (!status) fail(what + ": " + status.error()[0].message);
}

std::vector<std::byte> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail("cannot open " + path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const Bytes bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

double now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class Action>
double seconds_of(const Action& action) {
    const double start = now();
    action();
    return now() - start;
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

struct Options {
    std::string model;
    std::string adapter;
    std::string other;
    std::uint64_t rounds = 21;
    std::uint64_t threads = 1;
};

Options parse(Arguments& arguments) {
    Options options;
    if (arguments.next_option()) arguments.refuse_option();  // what is not --help
    options.model = arguments.positional("MODEL");
    options.adapter = arguments.positional("ADAPTER");
    options.other = arguments.positional("OTHER");
    while (const auto option = arguments.next_option()) {
        if (*option == "--rounds") {
            options.rounds = arguments.number(1, 100'000);
        } else if (*option == "--threads") {
            options.threads = arguments.number(1, 256);
        } else {
            arguments.refuse_option();
        }
    }
    arguments.expect_end();
    return options;
}

void run(const Options& options) {
    const std::vector<std::byte> file = read_file(options.model);
    const Model model = required(read_model(file), options.model);
    std::vector<std::byte> memory = file;
    const auto tensors = required(memory_tensors(model, memory), options.model);
    const std::vector<std::byte> files[] = {read_file(options.adapter), read_file(options.other)};
    const Package packages[] = {required(read_package(files[0]), options.adapter),
                                required(read_package(files[1]), options.other)};
    const StackMember members[] = {{&packages[0], 1, {}}, {&packages[1], 1, {}}};
    const MemoryModel engine{model.identity(), tensors};
    const auto plan_of = [&](std::size_t i) {
        return required(plan_in_memory(engine, {&members[i], 1}), "plan");
    };
    const MemoryPlan plan = plan_of(0);
    const MemoryPlan other = plan_of(1);
    ApplyOptions apply;
    apply.executor = make_executor(options.threads);
    Applied applied = required(apply_in_memory(plan, apply), "apply");

    std::vector<double> swaps;
    std::vector<double> undos;
    std::vector<double> applies;
    std::vector<double> plans;
    std::vector<double> reads;
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < options.rounds; ++i) {
        plans.push_back(seconds_of([&] { (void)plan_of(1); }));
        swaps.push_back(seconds_of([&] { require(applied.swap(other, apply), "swap"); }));
        swaps.push_back(seconds_of([&] { require(applied.swap(plan, apply), "swap"); }));
        undos.push_back(seconds_of([&] { require(applied.undo(apply.executor), "undo"); }));
        applies.push_back(
            seconds_of([&] { applied = required(apply_in_memory(plan, apply), "apply"); }));
        reads.push_back(seconds_of([&] {
            sum += read_all(
                {reinterpret_cast<const float*>(memory.data()), memory.size() / sizeof(float)});
        }));
    }
    require(applied.undo(), "undo");
    if (memory != file) fail("the base is not back");
    const double read = median(reads);
    const nlohmann::ordered_json json{
        {"parameters", model.identity().parameter_count},
        {"bytes", memory.size()},
        {"threads", options.threads},
        {"plan_seconds", median(plans)},
        {"swap_seconds", median(swaps)},
        {"undo_seconds", median(undos)},
        {"apply_seconds", median(applies)},
        {"read_seconds", read},
        {"swap_ratio", median(swaps) / read},
        {"undo_ratio", median(undos) / read},
        {"checksum_of_what_was_read", sum},
    };
    std::printf("%s\n", json.dump(1).c_str());
}

}  // namespace
}  // namespace trlm::adapt::bench

int main(int count, char** arguments) {
    using namespace trlm::adapt::bench;
    Arguments words("swap", usage, {arguments + 1, arguments + count});
    run(parse(words));
    return 0;
}

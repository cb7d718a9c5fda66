// Applies random stacks and prints what came out, one line a case, so that the lines of two runs
// can be compared: other instruction sets, threads, settings of the floating-point unit, compilers,
// machines.  docs/kernels.md

#include <algorithm>
#include <cfenv>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "case.hpp"
#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/memory.hpp"
#include "trlm/adapt/simd.hpp"

namespace trlm::adapt::sameness {
namespace {

constexpr const char* usage =
    "usage: sameness [--target NAME] [--threads N] [--seed S] [--cases M | --case K]\n"
    "                [--round nearest|up|down|zero] [--ftz]\n"
    "       sameness --list    the targets of this CPU, best first\n";

struct Options {
    bool list = false;
    std::string target;
    std::uint64_t threads = 1;
    std::uint64_t seed = 1;
    std::uint64_t first = 0;
    std::uint64_t cases = 200;
    int round = FE_TONEAREST;
    bool ftz = false;
};

// The settings of the floating-point unit that a host may have changed before it calls us. They are
// read from the register itself: on x86 std::fegetround asks another one than SSE obeys.
#if defined(__SSE2__)
constexpr unsigned ftz_and_daz = 0x8040;
constexpr unsigned sticky_flags = 0x3f;
std::uint64_t settings() {
    return _mm_getcsr() & ~sticky_flags;
}
bool set_ftz() {
    _mm_setcsr(_mm_getcsr() | ftz_and_daz);
    return true;
}
#elif defined(__aarch64__)
constexpr std::uint64_t flush_to_zero = 1ULL << 24;  // inputs too
std::uint64_t settings() {
    std::uint64_t control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
bool set_ftz() {
    asm volatile("msr fpcr, %0" : : "r"(settings() | flush_to_zero));
    return true;
}
#else
std::uint64_t settings() {
    return static_cast<std::uint64_t>(std::fegetround());
}
bool set_ftz() {
    return false;
}
#endif

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<int> round_named(std::string_view name) {
    if (name == "nearest") return FE_TONEAREST;
    if (name == "up") return FE_UPWARD;
    if (name == "down") return FE_DOWNWARD;
    if (name == "zero") return FE_TOWARDZERO;
    return std::nullopt;
}

/// Takes an option that has a value. False: unknown, or nonsense.
bool take(Options& options, std::string_view name, std::string_view value) {
    if (name == "--target") {
        options.target = value;
        return check_simd_target(value).has_value();
    }
    if (name == "--round") {
        const auto round = round_named(value);
        options.round = round.value_or(FE_TONEAREST);
        return round.has_value();
    }
    const auto count = number(value);
    if (!count) return false;
    if (name == "--threads") {
        options.threads = *count;
        return *count >= 1 && *count <= 1024;
    }
    if (name == "--seed") {
        options.seed = *count;
    } else if (name == "--cases") {
        options.cases = *count;
    } else if (name == "--case") {
        options.first = *count;
        options.cases = 1;
    } else {
        return false;
    }
    return true;
}

/// The options, or nothing once it is said what is wrong with them.
std::optional<Options> parse(std::span<char* const> arguments) {
    Options options;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string_view name = arguments[i];
        if (name == "--list") {
            options.list = true;
        } else if (name == "--ftz") {
            options.ftz = true;
        } else if (i + 1 == arguments.size() || !take(options, name, arguments[i + 1])) {
            std::fprintf(stderr, "sameness: cannot use %s%s%s\n%s", arguments[i],
                         i + 1 < arguments.size() ? " " : "",
                         i + 1 < arguments.size() ? arguments[i + 1] : "", usage);
            return std::nullopt;
        } else {
            ++i;
        }
    }
    return options;
}

std::string hex(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%a", value);
    return text;
}

std::string survival_line(const TensorSurvival& tensor) {
    std::string line = " | " + tensor.name + ' ' + std::to_string(tensor.elements) + ' ' +
                       std::to_string(tensor.touched) + ' ' + std::to_string(tensor.changed);
    for (const double figure :
         {tensor.max_abs_delta, tensor.intended_effective, tensor.intended_squared,
          tensor.effective_squared, tensor.error_squared, tensor.rms_delta(), tensor.kept(),
          tensor.cosine()}) {
        line += ' ' + hex(figure);
    }
    return line;
}

std::string findings_line(const Findings& findings) {
    std::string line;
    for (const Finding& finding : findings) {
        line += " | " + std::string(finding_info(finding.code).name) + ' ' + finding.tensor;
        if (finding.element) line += ' ' + std::to_string(*finding.element);
    }
    return line;
}

/// A value, or the run ends with what was wrong.
template <class T>
T must(Result<T> result, const char* what) {
    if (!result) throw std::runtime_error(std::string(what) + ": " + result.error()[0].message);
    return std::move(*result);
}

/// What an application gave: bytes, findings, figures.
struct Applied {
    std::vector<std::byte> output;
    std::string line;
    friend bool operator==(const Applied&, const Applied&) = default;
};

std::string report_line(const ApplyReport& report) {
    std::string line = report.zero_effect ? " no effect" : "";
    if (report.kept) line += " kept " + hex(*report.kept);
    for (const TensorSurvival& tensor : report.tensors)
        line += survival_line(tensor);
    return line;
}

Applied apply_to_file_image(const Model& model, const Stack& stack, const ApplyOptions& options) {
    const ApplyPlan plan = must(plan_apply(model, stack), "plan_apply");
    Applied applied;
    const auto report = apply_to_memory(plan, applied.output, options);
    applied.line = report ? report_line(*report) : findings_line(report.error());
    return applied;
}

/// As an engine would: the model's tensors in place. The file around them is no part of that.
Applied apply_in_place(const Model& model, const Stack& stack, bool bounds,
                       const ApplyOptions& options) {
    std::vector<std::byte> memory(model.bytes().begin(), model.bytes().end());
    std::vector<MemoryTensor> tensors;
    for (const ModelTensor& tensor : model.tensors()) {
        const auto part = [&](std::uint64_t offset, std::uint64_t length) {
            return MutableBytes(memory).subspan(offset, length);
        };
        tensors.push_back({tensor.name_hash, tensor.name, tensor.dtype, tensor.shape,
                           tensor.block_size, part(tensor.payload_offset, tensor.payload_length),
                           part(tensor.scale_offset, tensor.scale_length),
                           bounds ? std::optional(tensor.max_abs) : std::nullopt});
    }
    const MemoryPlan plan =
        must(plan_in_memory({model.identity(), tensors}, stack), "plan_in_memory");
    Applied applied;
    auto in_memory = apply_in_memory(plan, options);
    if (!in_memory) {
        if (!std::ranges::equal(memory, model.bytes())) {
            throw std::runtime_error("what is refused in place changes memory");
        }
        applied.line = findings_line(in_memory.error());
        return applied;
    }
    applied.line = report_line(in_memory->report());
    const std::vector<std::byte> first = memory;
    if (!in_memory->undo(options.executor) || !std::ranges::equal(memory, model.bytes())) {
        throw std::runtime_error("undo does not bring the base back");
    }
    if (!in_memory->swap(plan, options) || !in_memory->swap(plan, options) || memory != first) {
        throw std::runtime_error("the same stack again gives other bytes");
    }
    store(MutableBytes(memory), slm1_checksum_offset, std::uint64_t{0});
    store(MutableBytes(memory), slm1_checksum_offset, checksum_of(memory));
    applied.output = std::move(memory);
    return applied;
}

/// What came out of a case, by every way in which a stack can be applied.
std::string outcome(const Case& made, const Options& options, const Executor& executor) {
    const Model model = must(read_model(made.model), "read_model");
    std::vector<Package> packages;
    for (const auto& file : made.packages)
        packages.push_back(must(read_package(file), "read_package"));
    Stack stack;
    for (const Member& member : made.stack) {
        const float strength = must(parse_strength(member.strength), "parse_strength");
        stack.push_back({&packages[member.package], strength, {}});
    }

    ApplyOptions apply;
    apply.rounding = must(parse_rounding(made.rounding), "parse_rounding");
    apply.allow_no_effect = true;
    apply.executor = executor;
    apply.simd_target = options.target;
    const Applied plain = apply_to_file_image(model, stack, apply);
    const Applied bounded = apply_in_place(model, stack, true, apply);
    apply.survival = true;
    const Applied measured = apply_to_file_image(model, stack, apply);
    const Applied in_place = apply_in_place(model, stack, false, apply);
    if (measured.output != plain.output) {
        throw std::runtime_error("measuring survival changes the output");
    }
    if (bounded != plain || in_place != measured) {
        throw std::runtime_error("in place the outcome is another than in a file");
    }
    return made.rounding + ' ' +
           (measured.output.empty() ? "refused" : format_checksum(xxh3_64(measured.output))) +
           " state " + format_checksum(assembly_state(model, stack)) + measured.line;
}

/// Prints the cases. False when one of them went wrong in itself.
bool run(const Options& options) {
    std::fesetround(options.round);
    if (options.ftz && !set_ftz()) {
        std::fprintf(stderr, "sameness: how this CPU flushes subnormals is not known\n");
        return false;
    }
    const std::uint64_t before = settings();
    // Threads that are started now begin with the same settings.
    const Executor executor = make_executor(options.threads);
    bool good = true;
    for (std::uint64_t i = options.first; i < options.first + options.cases; ++i) {
        std::string line;
        try {
            line = outcome(make_case(options.seed, i), options, executor);
            if (settings() != before) {
                throw std::runtime_error("the caller's floating-point settings were changed");
            }
        } catch (const std::exception& error) {
            line = std::string("error: ") + error.what();
            good = false;
        }
        std::printf("%llu %s\n", static_cast<unsigned long long>(i), line.c_str());
    }
    return good;
}

}  // namespace
}  // namespace trlm::adapt::sameness

int main(int count, char** arguments) {
    using namespace trlm::adapt;
    const auto options =
        sameness::parse(std::span(arguments, static_cast<std::size_t>(count)).subspan(1));
    if (!options) return 2;
    if (options->list) {
        for (const std::string& target : simd_targets())
            std::printf("%s\n", target.c_str());
        return 0;
    }
    return sameness::run(*options) ? 0 : 1;
}

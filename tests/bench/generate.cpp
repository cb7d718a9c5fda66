// Models, adapters and stacks of any size, full of random values: the same for the same seed.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "arguments.hpp"
#include "model_file.hpp"
#include "package_file.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt::bench {
namespace {

constexpr std::string_view usage =
    "usage: generate model OUT (--bytes SIZE | --hidden N --layers N [--ffn N]) [--dtype TYPE]\n"
    "                [--seed N]\n"
    "       generate adapter OUT --model FILE --kind KIND [what the kind needs] [--seed N]\n"
    "       generate stack FOLDER --model FILE --kind KIND --count N [...] [--seed N]\n"
    "Writes random models and adapters. The same arguments give the same bytes.\n"
    "  --bytes SIZE      the largest model that is not larger: 65536, 16MiB, 1GiB ...\n"
    "  --hidden N        columns of the model, a multiple of 64\n"
    "  --layers N        its layers\n"
    "  --ffn N           its feed-forward size (default 8/3 of the columns)\n"
    "  --dtype TYPE      f32 (default), q8_0 or q4_0\n"
    "  --model FILE      the model that the adapter is for\n"
    "  --kind KIND       dense, sparse or lowrank\n"
    "  --rank N          of a lowrank adapter (default 8)\n"
    "  --density X       of a sparse adapter: share of the elements (default 0.01)\n"
    "  --size SIZE       leaves out tensors so that the adapter is not larger\n"
    "  --tensors TEXT    only tensors whose name contains TEXT\n"
    "  --count N         adapters of the stack, each of a seed of its own\n"
    "  --seed N          a whole number (default 0)\n";

/// All options of all three forms.
struct Options {
    std::optional<std::uint64_t> bytes;
    std::optional<std::uint32_t> hidden;
    std::optional<std::uint32_t> layers;
    std::optional<std::uint32_t> ffn;
    std::optional<Dtype> dtype;
    std::optional<std::string> model;
    std::optional<PackageKind> kind;
    std::optional<std::uint32_t> rank;
    std::optional<double> density;
    std::optional<std::uint64_t> size;
    std::optional<std::string> tensors;
    std::optional<std::uint32_t> count;
    std::uint64_t seed = 0;
};

Dtype parse_dtype(Arguments& arguments) {
    const std::string& text = arguments.value();
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        if (text == to_string(dtype)) return dtype;
    }
    arguments.refuse("--dtype must be f32, q8_0 or q4_0, not " + text);
}

PackageKind parse_kind(Arguments& arguments) {
    const std::string& text = arguments.value();
    if (text == "dense") return PackageKind::dense;
    if (text == "sparse") return PackageKind::sparse;
    if (text == "lowrank") return PackageKind::low_rank;
    arguments.refuse("--kind must be dense, sparse or lowrank, not " + text);
}

std::uint32_t small_number(Arguments& arguments, std::uint32_t high) {
    return static_cast<std::uint32_t>(arguments.number(1, high));
}

Options parse(Arguments& arguments) {
    Options options;
    while (const auto option = arguments.next_option()) {
        if (*option == "--bytes") {
            options.bytes = arguments.size();
        } else if (*option == "--hidden") {
            options.hidden = small_number(arguments, 65'536);
        } else if (*option == "--layers") {
            options.layers = small_number(arguments, 4'096);
        } else if (*option == "--ffn") {
            options.ffn = small_number(arguments, 1'048'576);
        } else if (*option == "--dtype") {
            options.dtype = parse_dtype(arguments);
        } else if (*option == "--model") {
            options.model = arguments.value();
        } else if (*option == "--kind") {
            options.kind = parse_kind(arguments);
        } else if (*option == "--rank") {
            options.rank = small_number(arguments, limits::low_rank);
        } else if (*option == "--density") {
            options.density = arguments.positive(1);
        } else if (*option == "--size") {
            options.size = arguments.size();
        } else if (*option == "--tensors") {
            options.tensors = arguments.value();
        } else if (*option == "--count") {
            options.count = small_number(arguments, limits::stack_members);
        } else if (*option == "--seed") {
            options.seed = arguments.number(0, std::numeric_limits<std::uint64_t>::max());
        } else {
            arguments.refuse_option();
        }
    }
    arguments.expect_end();
    return options;
}

/// Ends the program with the first finding.
[[noreturn]] void fail(const Findings& findings, const std::string& file) {
    const Finding& first = findings[0];
    std::fprintf(stderr, "generate: %s: %s\n",
                 first.file.empty() ? file.c_str() : first.file.c_str(), first.message.c_str());
    std::exit(findings.exit_code() == ExitCode::usage ? 2 : 1);
}

void generate_model(const Arguments& arguments, const std::string& output, const Options& options) {
    if (options.model || options.kind || options.rank || options.density || options.size ||
        options.tensors || options.count) {
        arguments.refuse("a model has only --bytes, --hidden, --layers, --ffn, --dtype and --seed");
    }
    const Dtype dtype = options.dtype.value_or(Dtype::f32);
    std::optional<ModelShape> shape;
    if (options.bytes) {
        if (options.hidden || options.layers || options.ffn) {
            arguments.refuse("--bytes chooses --hidden, --layers and --ffn; give one or the other");
        }
        shape = shape_of_size(*options.bytes, dtype);
        if (!shape) arguments.refuse("--bytes is too small for the smallest model");
    } else {
        if (!options.hidden || !options.layers) {
            arguments.refuse("a model needs --bytes, or --hidden and --layers");
        }
        if (*options.hidden % 64 != 0) arguments.refuse("--hidden must be a multiple of 64");
        shape = shape_of(*options.hidden, *options.layers);
        shape->ffn_size = options.ffn.value_or(shape->ffn_size);
    }
    const Status written = write_random_model(output, *shape, dtype, options.seed);
    if (!written) fail(written.error(), output);
}

AdapterSpec adapter_spec(const Arguments& arguments, const Options& options) {
    if (options.bytes || options.hidden || options.layers || options.ffn || options.dtype) {
        arguments.refuse("--bytes, --hidden, --layers, --ffn and --dtype are those of a model");
    }
    if (!options.model) arguments.refuse("an adapter needs --model");
    if (!options.kind) arguments.refuse("an adapter needs --kind");
    if (options.rank && *options.kind != PackageKind::low_rank) {
        arguments.refuse("--rank is that of a lowrank adapter");
    }
    if (options.density && *options.kind != PackageKind::sparse) {
        arguments.refuse("--density is that of a sparse adapter");
    }
    AdapterSpec spec{.kind = *options.kind, .tensors = options.tensors.value_or(std::string())};
    spec.rank = options.rank.value_or(spec.rank);
    spec.density = options.density.value_or(spec.density);
    spec.largest_bytes = options.size.value_or(0);
    spec.seed = options.seed;
    return spec;
}

std::string extension(PackageKind kind) {
    switch (kind) {
        case PackageKind::dense:
            return ".adp1";
        case PackageKind::sparse:
            return ".asp1";
        case PackageKind::low_rank:
            break;
    }
    return ".alr1";
}

void generate_adapters(const Arguments& arguments, const Options& options, AdapterSpec spec,
                       const std::vector<std::string>& outputs) {
    const Result<MappedFile> file = MappedFile::open(*options.model);
    if (!file) fail(file.error(), *options.model);
    const Result<Model> model = read_model(file->bytes(), {.depth = ReadDepth::headers});
    if (!model) fail(model.error(), *options.model);
    for (const std::string& output : outputs) {
        if (same_file(output, *options.model)) {
            arguments.refuse("the adapter would replace the model " + output);
        }
        const Status written = write_random_adapter(output, *model, spec);
        if (!written) fail(written.error(), output);
        ++spec.seed;
    }
}

std::vector<std::string> stack_files(const Arguments& arguments, const std::string& folder,
                                     const Options& options, const AdapterSpec& spec) {
    if (!options.count) arguments.refuse("a stack needs --count");
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) arguments.refuse("the folder " + folder + " cannot be made: " + error.message());
    std::vector<std::string> files;
    for (std::uint32_t i = 1; i <= *options.count; ++i) {
        const std::string number = (i < 10 ? "0" : "") + std::to_string(i);
        files.push_back(folder + "/" + number + extension(spec.kind));
    }
    return files;
}

void run(Arguments arguments) {
    // --help may stand in the place of the form.
    if (const auto option = arguments.next_option()) arguments.refuse_option();
    const std::string form = arguments.positional("model, adapter or stack");
    if (form != "model" && form != "adapter" && form != "stack") {
        arguments.refuse("it makes a model, an adapter or a stack, not " + form);
    }
    if (const auto option = arguments.next_option()) {
        arguments.refuse("the output comes before " + *option);
    }
    const std::string output = arguments.positional("the output");
    const Options options = parse(arguments);
    if (form == "model") {
        generate_model(arguments, output, options);
        return;
    }
    const AdapterSpec spec = adapter_spec(arguments, options);
    if (form == "stack") {
        generate_adapters(arguments, options, spec, stack_files(arguments, output, options, spec));
        return;
    }
    if (options.count) arguments.refuse("--count is that of a stack");
    generate_adapters(arguments, options, spec, {output});
}

}  // namespace
}  // namespace trlm::adapt::bench

int main(int count, char** values) {
    using namespace trlm::adapt::bench;
    run(Arguments("generate", usage, {values + 1, values + count}));
    return 0;
}

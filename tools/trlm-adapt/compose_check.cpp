#include <fmt/format.h>

#include "commands.hpp"
#include "inputs.hpp"
#include "stack_arguments.hpp"
#include "trlm/adapt/produce/compose.hpp"

namespace trlm::adapt::cli {
namespace {

/// Reads headers and directories of all packages even where one fails.
Result<std::vector<PackageInput>> read_headers(const std::vector<std::string>& paths) {
    Findings findings;
    std::vector<PackageInput> packages;
    for (const std::string& path : paths) {
        Result<MappedFile> file = open_input(path);
        if (!succeeded(file, findings)) continue;
        Result<PackageInput> package =
            read_package_input(path, std::move(*file), ReadDepth::headers, false);
        if (succeeded(package, findings)) packages.push_back(std::move(*package));
    }
    if (findings.has_errors()) return failure(std::move(findings));
    return packages;
}

/// One package of the stack.
struct Line {
    std::string path;
    PackageKind kind = PackageKind::dense;
    std::size_t tensors = 0;
    std::uint64_t changed = 0;
};

/// What the text needs when the packages are gone.
struct Summary {
    std::vector<Line> packages;
    Composition composition;
};

/// `part` of `whole` as a share; 0 of nothing.
double share(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string name_of(const SharedTensor& tensor) {
    return tensor_label(tensor.name, tensor.name_hash);
}

Json compose_json(const Summary& summary) {
    const Composition& composition = summary.composition;
    Json json = Json::object();
    json["packages"] = Json::array();
    for (const Line& line : summary.packages) {
        json["packages"].push_back({{"file", line.path},
                                    {"format", to_string(line.kind)},
                                    {"tensors", line.tensors},
                                    {"elements", line.changed}});
    }
    json["pairs"] = Json::array();
    for (const SharedByTwo& pair : composition.pairs) {
        json["pairs"].push_back(
            {{"first", pair.first},
             {"second", pair.second},
             {"tensors", pair.tensors},
             {"elements", pair.elements},
             {"share_of_first", share(pair.elements, composition.changed[pair.first])},
             {"share_of_second", share(pair.elements, composition.changed[pair.second])},
             {"same_content", pair.same_content}});
    }
    json["changed_twice"] = composition.changed_twice;
    json["order_sensitive"] = composition.order_sensitive();
    json["tensors"] = Json::array();
    for (const SharedTensor& tensor : composition.tensors) {
        json["tensors"].push_back({{"name", name_of(tensor)},
                                   {"elements", tensor.elements},
                                   {"packages", tensor.members},
                                   {"changed_twice", tensor.changed_twice}});
    }
    return json;
}

std::string packages_table(const Summary& summary, const Style& style) {
    Table table({{"#", Align::right},
                 {"package", Align::left, true},
                 {"format"},
                 {"tensors", Align::right},
                 {"elements", Align::right}});
    for (std::size_t i = 0; i < summary.packages.size(); ++i) {
        const Line& line = summary.packages[i];
        table.add({std::to_string(i + 1), printable(line.path), std::string(to_string(line.kind)),
                   grouped(line.tensors), grouped(line.changed)});
    }
    return table.print(style, 2);
}

std::string pairs_table(const Composition& composition, const Style& style) {
    const auto percent = [](double value) { return fmt::format("{:.1f} %", value * 100); };
    Table table({{"both"},
                 {"tensors", Align::right},
                 {"elements", Align::right},
                 {"of the first", Align::right},
                 {"of the second", Align::right},
                 {"", Align::left, true}});
    for (const SharedByTwo& pair : composition.pairs) {
        table.add({fmt::format("{} and {}", pair.first + 1, pair.second + 1), grouped(pair.tensors),
                   grouped(pair.elements),
                   percent(share(pair.elements, composition.changed[pair.first])),
                   percent(share(pair.elements, composition.changed[pair.second])),
                   Cell(pair.same_content ? "the same package" : "", Paint::yellow)});
    }
    return table.print(style, 2);
}

std::string tensors_table(const Composition& composition, const Style& style) {
    Table table({{"tensor", Align::left, true},
                 {"packages", Align::right},
                 {"elements", Align::right},
                 {"changed twice", Align::right}});
    for (const SharedTensor& tensor : composition.tensors) {
        std::string packages;
        for (const std::size_t member : tensor.members)
            packages += fmt::format("{}{}", packages.empty() ? "" : ", ", member + 1);
        table.add({printable(name_of(tensor)), packages, grouped(tensor.elements),
                   grouped(tensor.changed_twice)});
    }
    return table.print(style, 2);
}

std::string compose_text(const Summary& summary, const Style& style) {
    const Composition& composition = summary.composition;
    std::string text = packages_table(summary, style) + '\n';
    if (!composition.pairs.empty()) {
        text += fmt::format("What two of them both change\n{}\n", pairs_table(composition, style));
    }
    if (!composition.tensors.empty()) {
        text += fmt::format("Tensors that several change\n{}\n", tensors_table(composition, style));
    }
    text += composition.order_sensitive()
                ? fmt::format("Order matters: {} changed more than once\n",
                              counted(composition.changed_twice, "element is", "elements are"))
                : std::string("Order does not matter: no element is changed more than once\n");
    return text;
}

}  // namespace

Outcome run_compose_check(const ComposeCheckOptions& options) {
    const Result<StackFiles> files = stack_files(options.packages);
    if (!files) return Outcome::failed(files.error());
    const Result<std::vector<PackageInput>> packages = read_headers(files->packages);
    if (!packages) return Outcome::failed(packages.error());
    Stack stack;
    for (const PackageInput& package : *packages)
        stack.push_back({.package = &package.package, .file = package.path});
    Result<Composition> composition = check_composition(stack);
    if (!composition) return Outcome::failed(std::move(composition).error());
    Summary summary{.packages = {}, .composition = std::move(*composition)};
    for (std::size_t i = 0; i < packages->size(); ++i) {
        const PackageInput& input = (*packages)[i];
        summary.packages.push_back({input.path, input.package.kind(),
                                    input.package.entries().size(),
                                    summary.composition.changed[i]});
    }
    return {.result = compose_json(summary),
            .text = [summary](const Style& style) { return compose_text(summary, style); }};
}

}  // namespace trlm::adapt::cli

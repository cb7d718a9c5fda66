// Applies one adapter to a model: minimal MODEL PACKAGE OUT
#include <cstdio>

#include <trlm/adapt.hpp>

using namespace trlm::adapt;

static int failed(const Findings& findings) {
    for (const Finding& finding : findings) {
        std::fprintf(stderr, "%s [%s]\n", finding.message.c_str(),
                     finding_info(finding.code).name.data());
    }
    return static_cast<int>(findings.exit_code());
}

int main(int argc, char** argv) {
    if (argc != 4) return static_cast<int>(ExitCode::usage);

    const auto model_file = MappedFile::open(argv[1]);
    if (!model_file) return failed(model_file.error());
    const auto model = read_model(model_file->bytes());
    if (!model) return failed(model.error());

    const auto package_file = MappedFile::open(argv[2]);
    if (!package_file) return failed(package_file.error());
    const auto package = read_package(package_file->bytes());
    if (!package) return failed(package.error());

    // Everything is checked before anything is written; on failure there is no output file.
    const Stack stack = {{.package = &*package, .strength = 1.0F, .file = argv[2]}};
    const auto plan = plan_apply(*model, stack);
    if (!plan) return failed(plan.error());
    const auto done = apply_to_file(*plan, argv[3], /*replace=*/false);
    if (!done) return failed(done.error());

    std::printf("%s  %s\n", to_string(done->digest).c_str(), argv[3]);
    return 0;
}
